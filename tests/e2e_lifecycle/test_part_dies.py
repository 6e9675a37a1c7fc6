"""A server does not serve on without one of its parts: it says which one died, and goes."""

from pathlib import Path

import httpx
import pytest

from tests.e2e_lifecycle.asking import answer, events
from tests.e2e_lifecycle.harm import PARTS
from tests.e2e_lifecycle.repository import Repository
from tests.server_process import running

SAYS = {
    "repository": "the scanner is harmed",
    "http": "the HttpDoor is harmed",
    "metrics": "the MetricsDoor is harmed",
    "grpc": "the InferFront is harmed",
}


@pytest.mark.parametrize("part", PARTS)
def test_when_a_part_dies_the_process_says_so_and_ends_with_code_1(part, tmp_path: Path):
    repository, harm = Repository(tmp_path), tmp_path / "harm"
    repository.write("one")
    options = ["--log-format=json", "--repository-poll-secs=0.1"]
    program = ["-m", "tests.e2e_lifecycle.harm", part, str(harm)]
    with running(tmp_path / "log", repository.path, options=options, program=program) as server:
        assert answer(server, "one") == 1
        assert httpx.get(f"http://{server.metrics}/metrics").status_code == 200
        harm.touch()
        assert server.wait(10) == 1
    (line,) = events(server, "part_died")
    assert line["level"] == "critical"
    assert SAYS[part] in line["exception"]
    assert not events(server, "server_stopped")
