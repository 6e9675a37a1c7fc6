"""One process of a tier takes a version back; then it is taken back everywhere, by the gateway's word."""

import httpx
import pytest

from tests.e2e_lifecycle.test_taking_back import choosy
from tests.tier_processes import endpoints, tier
from tests.tiers.folders import Folders

pytestmark = pytest.mark.slow

QUICK = ("--model-control-mode=poll", "--repository-poll-secs=0.1", "--repository-settle-secs=0.1")


def ask(server, x: float) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [x, x]}
    return server.client.post("/v2/models/m/infer", json={"inputs": [tensor]})


def gives(server) -> list[float]:
    answer = ask(server, 0)
    return answer.json()["outputs"][0]["data"] if answer.status_code == 200 else []


@pytest.mark.parametrize("new", [2, 1], ids=["a new number", "new content of the number"])
def test_what_fails_in_one_process_is_taken_back_in_all_tiers(tmp_path, new):
    folders = Folders(tmp_path / "of")
    latest = "latest { num_versions: 1 }"
    folders.put("m", 1, 1, "pre", "predict", policy=latest)
    started = {"options": QUICK, "wait": False}
    with (
        tier(tmp_path, "predict", folders.of("predict"), name="first", **started) as first,
        tier(tmp_path, "predict", folders.of("predict"), name="second", **started) as second,
        tier(tmp_path, "pre", folders.of("pre"), predict=[first, second], **started) as pre,
        tier(
            tmp_path, "gateway", predict=[first, second], options=endpoints("pre", [pre]), wait=False
        ) as gateway,
    ):
        gateway.until(gateway.ready, within_s=60)
        assert gives(gateway) == [11, 11]
        folders.put("m", new, 2, "pre", "predict", model_file=choosy())
        gateway.until(lambda: "out of" in ask(gateway, 0).text, within_s=30)
        for server in (first, second, pre):
            server.until(lambda server=server: ready_of(server) == [("m", str(new))], within_s=30)
        for _ in range(60):
            ask(first, 5)  # of this process alone: the others see next to no failure
        gateway.until(lambda: gives(gateway) == [11, 11], within_s=20)
        for server in (first, second, pre):
            server.until(lambda server=server: "rolled back" in str(server.index()))
        assert "the predict tier at" in str(second.index())
        if new == 2:
            assert "rolled back" in gateway.index()["m", "2"][1]


def ready_of(server) -> list[tuple[str, str]]:
    return [key for key, (state, _) in server.index().items() if state == "READY"]
