"""Orders at a gateway: they reach every process of the tiers, and are an error where one of them fails."""

import base64
import json
from contextlib import ExitStack

import httpx
import pytest

from tests.tier_processes import endpoints, tier
from tests.tiers.folders import Folders
from tests.tiers.traffic import Traffic

EXPLICIT = ("--model-control-mode=explicit", "--repository-settle-secs=0.1")

CHAIN = """
platform: "ensemble"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 2 }
output { name: "z" data_type: TYPE_FP32 dims: 2 }
ensemble_scheduling {
  step {
    model_name: "m"  model_version: -1
    input_map { key: "x" value: "x" }  output_map { key: "y" value: "t" }
  }
  step {
    model_name: "p"  model_version: -1
    input_map { key: "x" value: "t" }  output_map { key: "y" value: "z" }
  }
}
"""


class Company:
    """A gateway over two processes of the predict tier and one of each other."""

    def __init__(self, stack: ExitStack, folders: Folders, logs) -> None:
        def start(role, **more):
            repositories = [] if role == "gateway" else [folders.of(role)]
            options = () if role == "gateway" else EXPLICIT
            started = tier(logs, role, *repositories, wait=False, **{"options": options, **more})
            return stack.enter_context(started)

        self.folders = folders
        self.post = start("post")
        self.predict = [start("predict", post=[self.post], name=f"predict-{each}") for each in range(2)]
        self.pre = start("pre", predict=self.predict)
        ahead = {"predict": self.predict, "post": [self.post], "options": endpoints("pre", [self.pre])}
        self.gateway = start("gateway", **ahead)
        self.client = self.gateway.client
        for server in (self.post, *self.predict, self.pre, self.gateway):
            server.until(server.ready, within_s=60)
        self.gateway.until(lambda: 'endpoints{state="ready",tier="predict"} 2.0' in self._metrics())

    def _metrics(self) -> str:
        return httpx.get(f"http://{self.gateway.metrics}/metrics").text

    def order(self, model: str, verb: str, **parameters) -> httpx.Response:
        return self.client.post(f"/v2/repository/models/{model}/{verb}", json={"parameters": parameters})

    def ask(self, model: str, **more) -> httpx.Response:
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
        return self.client.post(f"/v2/models/{model}/infer", json={"inputs": [x], **more})

    def answer(self, model: str) -> int:
        answer = self.ask(model)
        assert answer.status_code == 200, answer.text
        return round(answer.json()["outputs"][0]["data"][0])

    def statistics(self, model: str, server=None) -> dict:
        client = (server or self.gateway).client
        (told,) = client.get(f"/v2/models/{model}/stats").json()["model_stats"]
        return told


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    folders = Folders(tmp_path_factory.mktemp("repositories") / "of")
    folders.put("m", 1, 1)
    folders.put("m", 2, 2)
    folders.put("p", 1, 3, "predict")
    folders.put("apart", 1, 1, only=("pre", "predict"))
    folders.put("apart", 1, 2, only=("post",))
    folders.write("chain", CHAIN)
    with ExitStack() as stack:
        yield Company(stack, folders, tmp_path_factory.mktemp("logs"))


def test_a_load_reaches_every_process_and_returns_once_the_model_is_live(company):
    loaded = company.order("m", "load")
    assert loaded.status_code == 200, loaded.text
    assert company.answer("m") == 222
    for server in (company.pre, *company.predict, company.post):
        assert server.index()[("m", "2")] == ("READY", "")


def test_a_load_of_a_model_that_nobody_has_is_refused_as_by_any_server(company):
    refused = company.order("nobody", "load")
    assert refused.status_code == 500
    assert refused.json()["error"].startswith("failed to load 'nobody'")


def test_a_load_fails_where_the_tiers_have_different_files(company):
    refused = company.order("apart", "load")
    assert refused.status_code == 400
    assert "the post tier has other content of it" in refused.json()["error"]
    assert company.order("apart", "unload").status_code == 200


def test_a_load_that_one_process_cannot_do_names_the_tier_and_the_process(company):
    folder = company.folders.of("post")
    company.folders.put("broken", 1, 1)
    (folder / "broken" / "1" / "post.py").write_text("raise RuntimeError('not today')")
    refused = company.order("broken", "load")
    assert refused.status_code == 400
    assert f"the post tier at {company.post.grpc}" in refused.json()["error"]
    assert "not today" in refused.json()["error"]
    assert company.ask("broken").status_code in (404, 503)
    company.order("broken", "unload")


def test_one_version_is_loaded_and_unloaded_alone(company):
    company.order("m", "load")
    assert company.order("m", "unload", version=2).status_code == 200
    assert company.answer("m") == 111
    assert company.order("m", "load", version=2).status_code == 200
    assert company.answer("m") == 222


def test_an_unload_is_done_when_it_returns(company):
    company.order("p", "load")
    assert company.answer("p") == 30
    assert company.order("p", "unload").status_code == 200
    assert company.ask("p").status_code == 404
    assert company.gateway.index()[("p", "1")] == ("UNAVAILABLE", "unloaded")


def test_a_load_brings_a_configuration_and_files_to_every_process(company):
    model = (company.folders.of("predict") / "p" / "1" / "model.onnx").read_bytes()
    file = base64.b64encode(model).decode()
    config = json.dumps({"max_batch_size": 4})
    loaded = company.order("brought", "load", config=config, **{"file:1/model.onnx": file})
    assert loaded.status_code == 200, loaded.text
    assert company.answer("brought") == 30
    assert company.client.get("/v2/models/brought/config").json()["max_batch_size"] == 4
    assert company.order("brought", "unload").status_code == 200


def test_an_ensemble_goes_through_the_tiers_step_by_step(company):
    loaded = company.order("chain", "load")
    assert loaded.status_code == 200, loaded.text
    assert company.answer("chain") == 252
    assert company.statistics("chain")["inference_count"] == 1
    company.order("p", "unload")
    assert "depends on 'p'" in company.gateway.index()[("chain", "1")][1]
    assert company.ask("chain").status_code in (404, 503)
    company.order("p", "load")
    assert company.answer("chain") == 252


def test_statistics_are_those_of_all_processes_together(company):
    company.order("p", "load")
    before = company.statistics("p")["inference_count"]
    with Traffic(company.gateway, "p", clients=6) as traffic:
        company.gateway.until(lambda: company.statistics("p")["inference_count"] > before + 40)
    assert traffic.refusals == []
    each = [company.statistics("p", server)["inference_count"] for server in company.predict]
    assert all(each), "both processes were asked"
    assert company.statistics("p")["inference_count"] == sum(each)


def test_a_schedule_is_the_predict_tiers_to_change(company):
    company.order("m", "load")
    refused = company.client.post("/v2/models/m/scheduling", json={"weight": 2})
    assert refused.status_code == 501
    assert "predict tier" in refused.json()["error"]
    assert company.client.get("/v2/models/nobody/scheduling").status_code == 404
