"""The systemd unit is one that systemd reads, and what it starts tells systemd how it stands."""

import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.app.notifying import READY, tell
from server.settings import options
from tests.deploy.declared import Declared, leaves, started
from tests.server_process import ROOT, SAMPLES

UNIT = ROOT / "deploy" / "systemd" / "tercet.service"


def directives() -> dict[str, str]:
    pairs = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def command() -> list[str]:
    return shlex.split(directives()["ExecStart"])


@contextmanager
def manager(address: str | Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address).replace("@", "\0", 1))
        channel.settimeout(180)
        yield channel


@pytest.mark.systemd
def test_systemd_itself_finds_nothing_wrong_but_that_it_is_not_installed_here(tmp_path):
    text = UNIT.read_text().replace("/opt/tercet/bin/tercet", "/bin/true")
    (tmp_path / "tercet.service").write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "tercet.service")]
    checked = subprocess.run(words, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_unit_says_only_what_the_program_knows():
    program, first, *words = command()
    assert Path(program).name == "tercet"
    assert first == "serve"
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert flags <= {option.flag for option in options().values()}


def test_control_is_closed_unless_the_operators_own_file_opens_it():
    name, _, rights = directives()["Environment"].partition("=")
    assert name == options()["anonymous_rights"].variable
    assert set(rights.split(",")) == {"inference", "metrics"}
    text = UNIT.read_text()
    assert text.index("\nEnvironment=") < text.index("\nEnvironmentFile=")


def test_systemd_waits_longer_than_the_server_takes_to_go():
    words = dict(word.partition("=")[::2] for word in command())
    longest = float(words["--drain-grace-secs"]) + 2 * float(words["--exit-timeout-secs"])
    assert float(directives()["TimeoutStopSec"]) > longest


@pytest.mark.parametrize("abstract", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_server_is_ready_for_systemd_when_it_is_ready_and_stops_when_it_drains(tmp_path, abstract):
    address = f"@{tmp_path}/notify" if abstract else str(tmp_path / "notify")
    models = tmp_path / "models"
    models.mkdir()
    (models / "iris").symlink_to(SAMPLES / "iris")
    declared = Declared(command()[1:]).swapped(
        {
            "/srv/models": str(models),
            "--drain-grace-secs=5": "--drain-grace-secs=0",
            "${STATE_DIRECTORY}": str(tmp_path / "state"),
            "${CACHE_DIRECTORY}": str(tmp_path / "cache"),
        }
    )
    told = {"NOTIFY_SOCKET": address}
    with manager(address) as systemd, started(declared, tmp_path / "log", environment=told) as server:
        assert systemd.recv(100) == b"READY=1"
        assert server.ready()
        server.terminate()
        assert systemd.recv(100) == b"STOPPING=1"
        assert leaves(server, float(directives()["TimeoutStopSec"])) == 0
    assert directives()["Type"] == "notify"


def test_a_manager_that_has_gone_is_no_reason_not_to_serve(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    tell(READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "not an address")
    tell(READY)
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell(READY)
