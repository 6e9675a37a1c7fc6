"""A real browser, and a server for it to look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.server_process import SAMPLES, Server, running

CHROMIUM = Path("/usr/bin/chromium")
HOST = "tercet.test"
"""The server's name to the browser: pages treat a host that is plainly local in a way of their own."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"there is no browser at {CHROMIUM}: install one with `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[f"--host-resolver-rules=MAP {HOST} 127.0.0.1"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("samples") / "log", SAMPLES) as server:
        yield server
