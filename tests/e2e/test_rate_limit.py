"""The rate limiter's resources, as options give them and configurations ask for them."""

from pathlib import Path

from tests.e2e.workshop import put, times
from tests.server_process import running

NEEDS = 'instance_group {{ kind: KIND_CPU rate_limiter {{ resources {{ name: "R1" count: {} }} }} }}'


def test_a_model_that_needs_more_than_there_is_does_not_load_and_says_what_to_do(tmp_path: Path):
    repository = tmp_path / "repository"
    put(repository, "modest", times(2, 1), NEEDS.format(2))
    put(repository, "greedy", times(2, 1), NEEDS.format(3))
    options = ["--rate-limit=execution_count", "--rate-limit-resource=R1:2"]
    with running(tmp_path / "log", repository, options=options, wait=False) as server:
        server.until(lambda: "server_ready" in server.log)
        index = server.index()
        assert index["modest", "1"] == ("READY", "")
        state, reason = index["greedy", "1"]
        assert state == "UNAVAILABLE"
        assert reason.startswith('Resource count for "R1" is limited to 2 which will prevent scheduling')
        assert "the minimum required count is 3; give --rate-limit-resource more" in reason


def test_without_a_rate_limiter_nobody_asks_what_a_model_needs(tmp_path: Path):
    repository = tmp_path / "repository"
    put(repository, "greedy", times(2, 1), NEEDS.format(3))
    with running(tmp_path / "log", repository, options=["--rate-limit-resource=R1:2"]) as server:
        assert server.index()["greedy", "1"] == ("READY", "")
