"""Verdicts over restarts: what was tried once is served without a trial, and what was bad stays out."""

from pathlib import Path

from tests.e2e_lifecycle.asking import answer, events
from tests.e2e_lifecycle.repository import Repository
from tests.server_process import running


def test_a_restart_tries_nothing_twice(tmp_path: Path):
    repository = Repository(tmp_path)
    repository.write("good")
    repository.write("bad", content=b"no model at all")
    options = ["--verify-models=true", f"--state-dir={tmp_path / 'state'}", "--log-format=json"]
    options += ["--strict-readiness=false", "--repository-settle-secs=0.05"]

    def judged(server) -> bool:
        return answer(server, "good") == 1 and server.index()["bad", "1"][0] == "UNAVAILABLE"

    reasons = []
    for tried in (1, 0):
        with running(tmp_path / "log", repository.path, options=options) as server:
            server.until(lambda: judged(server))
            reasons.append(server.index()["bad", "1"][1])
            assert len(events(server, "version_verified", model="good")) == tried
            assert len(events(server, "version_rejected", model="bad")) == tried
    assert reasons[0] == reasons[1]
    assert reasons[0].startswith("model.onnx cannot be loaded")


def test_a_spoilt_memory_costs_a_trial_and_nothing_else(tmp_path: Path):
    repository = Repository(tmp_path)
    repository.write("good")
    state = tmp_path / "state"
    options = ["--verify-models=true", f"--state-dir={state}", "--log-format=json"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert answer(server, "good") == 1
    (entry,) = (state / "verdicts").iterdir()
    entry.write_bytes(entry.read_bytes()[:-20])
    with running(tmp_path / "log", repository.path, options=options) as server:
        assert answer(server, "good") == 1
        assert events(server, "verdict_unreadable")
        assert len(events(server, "version_verified", model="good")) == 1
