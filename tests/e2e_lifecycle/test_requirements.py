"""A version whose code needs what the server's environment has not never takes traffic, and says why."""

from tests.e2e.workshop import put
from tests.lifecycle.shelf import plus
from tests.server_process import running

CODE = "def preprocess(inputs): return inputs\n"


def test_a_version_is_rejected_for_its_requirements_and_taken_up_once_they_are_met(tmp_path):
    models = tmp_path / "models"
    put(models, "needy", plus(1), pre_py=CODE)
    requirements = models / "needy" / "requirements.txt"
    requirements.write_text("nobody-at-all>=3\n")
    with running(
        tmp_path / "log",
        models,
        options=["--repository-settle-secs=0.1", "--strict-readiness=false", "--verify-models=true"],
    ) as server:
        state, why = server.index()["needy", "1"]
        assert state == "UNAVAILABLE"
        assert "nobody-at-all>=3 is not installed" in why
        requirements.write_text("numpy\n")
        server.until(lambda: server.index()["needy", "1"][0] == "READY", within_s=60)
