"""A gateway and its tiers, each a process of its own, over repositories that change at different moments."""

import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from server.domain.stage import STAGES
from tests.server_process import free_ports
from tests.tier_processes import endpoints, tier
from tests.tiers.folders import Folders
from tests.tiers.traffic import Traffic

QUICK = ("--model-control-mode=poll", "--repository-poll-secs=0.1", "--repository-settle-secs=0.1")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = Folders(tmp_path_factory.mktemp("repositories") / "of")
    made.put("steady", 1, 1)
    made.put("plain", 1, 1, "predict")
    return made


class Company:
    """A gateway over one process of each tier, and another of the predict tier that can be killed."""

    def __init__(self, stack: ExitStack, folders: Folders, logs) -> None:
        def start(role, **more):
            repositories = [] if role == "gateway" else [folders.of(role)]
            options = () if role == "gateway" else QUICK
            started = tier(logs, role, *repositories, wait=False, **{"options": options, **more})
            return stack.enter_context(started)

        self.post = start("post")
        self.predict = start("predict", post=[self.post])
        self.pre = start("pre", predict=[self.predict])
        ahead = {"predict": [self.predict], "post": [self.post], "options": endpoints("pre", [self.pre])}
        self.gateway = start("gateway", **ahead)
        self.client = self.gateway.client
        for server in (self.post, self.predict, self.pre, self.gateway):
            server.until(server.ready, within_s=60)

    def ask(self, model: str, version: int | str = "") -> httpx.Response:
        base = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
        return self.client.post(f"{base}/infer", json={"inputs": [x]})

    def marks(self, model: str, version: int | str = "") -> list[int]:
        """Which content each stage was of, from the post stage to the pre stage."""
        answer = self.ask(model, version)
        assert answer.status_code == 200, answer.text
        return [int(digit) for digit in str(round(answer.json()["outputs"][0]["data"][0]))]

    def line(self, model: str, version: int) -> tuple[str, str]:
        return self.gateway.index().get((model, str(version)), ("", ""))

    def until(self, model: str, version: int, state: str, within_s: float = 20) -> str:
        """Wait for a state in the index; the reason that it gives."""
        self.gateway.until(lambda: self.line(model, version)[0] == state, within_s)
        return self.line(model, version)[1]


@pytest.fixture(scope="module")
def company(folders, tmp_path_factory):
    with ExitStack() as stack:
        yield Company(stack, folders, tmp_path_factory.mktemp("logs"))


def test_a_request_goes_through_all_stages_of_its_version(company):
    assert company.marks("steady") == [1, 1, 1]


def test_a_version_without_code_goes_straight_to_the_predict_tier(company):
    assert company.marks("plain") == [1, 0]


def test_the_gateway_shows_what_the_tiers_have(company):
    assert company.line("steady", 1) == ("READY", "")
    told = company.client.get("/v2/models/steady").json()
    assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert company.client.get("/v2/models/steady/config").json()["max_batch_size"] == 8


def test_a_version_in_one_tier_only_is_not_live_until_the_others_have_it(company, folders):
    folders.put("newer", 1, 1)
    company.until("newer", 1, "READY")
    with Traffic(company.gateway, "newer") as traffic:
        folders.put("newer", 2, 2, only=("pre", "post"))
        lacks = ("LOADING", "the predict tier does not have it yet")
        company.gateway.until(lambda: company.line("newer", 2) == lacks)
        assert company.marks("newer") == [1, 1, 1]
        refused = company.ask("newer", 2)
        assert refused.status_code == 503
        assert "the predict tier does not have it yet" in refused.json()["error"]
        folders.put("newer", 2, 2, only=("predict",))
        company.until("newer", 2, "READY")
        assert company.marks("newer") == [2, 2, 2]
        company.gateway.until(lambda: 222 in traffic.answers)
    assert traffic.refusals == []
    assert traffic.answers == {111, 222}


def test_an_old_version_stays_in_every_tier_until_the_new_one_is_in_all(company, folders):
    folders.put("rolling", 1, 1, policy="latest { num_versions: 1 }")
    company.until("rolling", 1, "READY")
    with Traffic(company.gateway, "rolling") as traffic:
        folders.put("rolling", 2, 2, only=("pre", "post"))
        company.gateway.until(lambda: company.line("rolling", 2)[0] == "LOADING")
        time.sleep(2.5)  # longer than a tier keeps what no gateway holds
        assert company.marks("rolling") == [1, 1, 1]
        folders.put("rolling", 2, 2, only=("predict",))
        company.until("rolling", 2, "READY")
        assert company.line("rolling", 1)[0] != "READY"
        assert company.marks("rolling") == [2, 2, 2]
    assert traffic.refusals == []
    assert traffic.answers == {111, 222}


def test_a_version_that_is_taken_back_loses_no_request(company, folders):
    folders.put("taken_back", 1, 1)
    folders.put("taken_back", 2, 2)
    company.until("taken_back", 2, "READY")
    company.until("taken_back", 1, "READY")
    with Traffic(company.gateway, "taken_back") as traffic:
        company.gateway.until(lambda: traffic.answers == {222})
        folders.remove("taken_back", 2)
        company.gateway.until(lambda: 111 in traffic.answers)
        company.pre.until(lambda: ("taken_back", "2") not in company.pre.index())
    assert traffic.refusals == []


def test_tiers_with_different_contents_never_answer_together(company, folders):
    folders.put("mixed", 1, 1, only=("pre", "post"))
    folders.put("mixed", 1, 2, only=("predict",))
    company.gateway.until(lambda: "other content" in company.line("mixed", 1)[1])
    assert company.line("mixed", 1)[0] == "LOADING"
    assert company.ask("mixed").status_code == 503
    folders.put("mixed", 1, 2, only=("pre", "post"))
    company.until("mixed", 1, "READY")
    assert company.marks("mixed") == [2, 2, 2]


def test_new_content_of_a_version_is_swapped_without_a_mixture(company, folders):
    folders.put("swapped", 1, 1)
    company.until("swapped", 1, "READY")
    with Traffic(company.gateway, "swapped") as traffic:
        company.gateway.until(lambda: traffic.answers)
        folders.put("swapped", 1, 2)
        company.gateway.until(lambda: 222 in traffic.answers)
    assert traffic.answers == {111, 222}
    assert {status for status, _ in traffic.refusals} <= {503}


def test_a_version_that_is_taken_away_is_served_no_more(company, folders):
    folders.put("brief", 1, 1)
    company.until("brief", 1, "READY")
    folders.remove("brief", 1)
    company.gateway.until(lambda: company.ask("brief").status_code == 404)


def test_a_gateway_without_its_tiers_lives_and_says_which_is_missing(tmp_path):
    lost = free_ports(1)[0]
    with tier(tmp_path, "gateway", wait=False, options=[f"--predict-endpoints=127.0.0.1:{lost}"]) as gateway:
        gateway.until(lambda: _answers(gateway))
        health = gateway.client.get("/v2/health/ready")
        assert health.status_code == 400
        assert "the predict tier has no endpoint that answers" in health.json()["error"]
        assert f"127.0.0.1:{lost}" in health.json()["error"]
        refused = gateway.client.post("/v2/models/any/infer", json={"inputs": []})
        assert refused.status_code == 503, "the tier may have it"
        assert "'any' is not known here yet: the predict tier has no endpoint" in refused.json()["error"]


def _answers(server) -> bool:
    try:
        return server.client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False


def timed(company, path: str, **parameters) -> dict:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
    answer = company.client.post(path, json={"inputs": [x], "parameters": parameters})
    assert answer.status_code == 200, answer.text
    return answer.json().get("parameters", {})


def test_a_request_may_ask_where_its_time_went(company):
    told = timed(company, "/v2/models/steady/infer?explain=timing")
    for stage in STAGES:
        assert {f"timing.{stage}.{part}_us" for part in ("queue", "compute", "transfer")} <= told.keys()
    assert sum(value for part, value in told.items() if part != "timing.total_us") <= told["timing.total_us"]
    assert timed(company, "/v2/models/plain/infer", explain="timing").keys() == {
        "timing.predict.queue_us",
        "timing.predict.compute_us",
        "timing.predict.transfer_us",
        "timing.total_us",
    }
    assert timed(company, "/v2/models/steady/infer") == {}


def test_an_explanation_that_there_is_not_is_refused(company):
    refused = company.client.post("/v2/models/steady/infer?explain=weather", json={"inputs": []})
    assert refused.status_code == 400
    assert "?explain=timing" in refused.json()["error"]


def test_a_request_over_grpc_asks_by_a_parameter(company):
    client = tritonclient.grpc.InferenceServerClient(company.gateway.grpc)
    x = tritonclient.grpc.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.zeros((1, 2), np.float32))
    answer = client.infer("steady", [x], parameters={"explain": "timing"}).get_response()
    assert answer.parameters["timing.predict.compute_us"].int64_param > 0
    client.close()


def test_metrics_show_the_tiers_and_where_the_time_goes(company):
    company.marks("steady")
    shown = httpx.get(f"http://{company.gateway.metrics}/metrics").text
    for stage in STAGES:
        assert f'tercet_tier_endpoints{{state="ready",tier="{stage}"}} 1.0' in shown
        assert f'tercet_tier_saturation_ratio{{tier="{stage}"}}' in shown
    assert f'tercet_hop_bundles_total{{endpoint="{company.pre.grpc}",tier="pre"}}' in shown
    for part in ("queue", "compute", "transfer"):
        counted = f'tercet_stage_time_seconds_count{{model="steady",part="{part}",stage="post",version="1"}}'
        assert counted in shown


def test_a_gateway_loads_no_runtime(company):
    mapped = Path(f"/proc/{company.gateway.pid}/maps").read_text()
    assert "onnxruntime" not in mapped
    assert "libtorch" not in mapped
    assert "onnxruntime" in Path(f"/proc/{company.predict.pid}/maps").read_text()
