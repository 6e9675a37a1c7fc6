"""Tiers of ours before and behind servers that are not: Triton's C++ server, and KServe's."""

from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.kserve_server import kserve_server
from tests.server_process import Server
from tests.tier_processes import endpoints, tier
from tests.triton_models import lay_triton_models
from tests.triton_server import triton_server

PRE = """\
INPUTS = [{"name": "word", "datatype": "BYTES", "shape": [-1, 1]}]

import numpy as np

def preprocess(inputs):
    lengths = [[len(word)] * 4 for word in inputs["word"].reshape(-1)]
    return {"x": np.array(lengths, np.float32)}
"""

POST = """\
OUTPUTS = [{"name": "sum", "datatype": "FP32", "shape": [-1, 1]}]

def postprocess(outputs):
    return {"sum": outputs["y"].sum(axis=1, keepdims=True)}
"""


def lay_code(repository: Path, model: str, config: str = "", **code: str) -> Path:
    version = repository / model / "1"
    version.mkdir(parents=True)
    for name, text in code.items():
        (version / f"{name}.py").write_text(text)
    (version.parent / "config.pbtxt").write_text(f'backend: "remote"\n{config}')
    return repository


def ask(server: Server, model: str, **tensors) -> httpx.Response:
    inputs = [
        {"name": name, "datatype": datatype, "shape": shape, "data": data}
        for name, (datatype, shape, data) in tensors.items()
    ]
    return server.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})


def words(*given: str) -> tuple[str, list[int], list[str]]:
    return "BYTES", [len(given), 1], list(given)


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("triton")
    lay_triton_models(scratch / "models")
    with triton_server(scratch / "models", scratch) as server:
        yield server.grpc


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    with kserve_server(tmp_path_factory.mktemp("kserve") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def in_front(tmp_path_factory):
    """Starts a gateway, with a pre and a post tier if there is code, before a server that is not ours."""
    with ExitStack() as stack:

        def start(foreign: str, repository: Path | None = None) -> Server:
            logs = tmp_path_factory.mktemp("logs")
            predict = f"--predict-endpoints=oip://{foreign}"
            options = [predict]
            if repository is not None:
                post = stack.enter_context(tier(logs, "post", repository))
                behind = endpoints("post", [post])
                pre = stack.enter_context(tier(logs, "pre", repository, options=[predict, *behind]))
                options += [*behind, *endpoints("pre", [pre])]
            return stack.enter_context(tier(logs, "gateway", options=options))

        yield start


@pytest.mark.pytriton
def test_a_gateway_alone_stands_before_tritons_server(triton, in_front):
    gateway = in_front(triton)
    assert gateway.index() == {("double", "1"): ("READY", ""), ("shout", "1"): ("READY", "")}
    assert gateway.client.get("/v2/models/double/config").json()["max_batch_size"] == 8
    answer = ask(gateway, "double", x=("FP32", [1, 4], [1, 2, 3, 4])).json()
    assert answer["outputs"][0]["data"] == [2, 4, 6, 8]
    refused = ask(gateway, "double", x=("FP32", [1, 4], [-1, 2, 3, 4]))
    assert (refused.status_code, refused.json()["error"]) == (400, "x must not be below 0")
    misfit = ask(gateway, "double", x=("FP32", [1, 5], [1, 2, 3, 4, 5]))
    assert (misfit.status_code, "Expected [-1,4], got [1,5]" in misfit.json()["error"]) == (400, True)
    stats = gateway.client.get("/v2/models/double/stats").json()["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] == 1


@pytest.mark.pytriton
def test_code_before_and_behind_tritons_server_is_run_by_our_tiers(triton, in_front, tmp_path):
    gateway = in_front(triton, lay_code(tmp_path, "double", pre=PRE, post=POST))
    assert gateway.client.get("/v2/models/double").json()["inputs"][0]["name"] == "word"
    answer = ask(gateway, "double", word=words("four", "fourteen"))
    assert answer.json()["outputs"][0] == {
        "name": "sum",
        "datatype": "FP32",
        "shape": [2, 1],
        "data": [32.0, 64.0],
    }
    assert ask(gateway, "shout", words=("BYTES", [1], ["a"])).json()["outputs"][0]["data"] == ["A"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["plus", "shy"])
def test_our_pre_and_post_tiers_stand_before_kserves_server(kserve, in_front, tmp_path, model):
    gateway = in_front(f"{kserve}?model={model}", lay_code(tmp_path, model, pre=PRE, post=POST))
    answer = ask(gateway, model, word=words("four", "fourteen"))
    assert answer.json()["outputs"][0]["data"] == [20.0, 36.0], answer.text


@pytest.mark.slow
def test_what_kserves_server_does_not_tell_may_stand_in_the_configuration(kserve, in_front, tmp_path):
    config = """
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
    gateway = in_front(f"{kserve}?model=shy", lay_code(tmp_path, "shy", config, pre=PRE))
    answer = ask(gateway, "shy", word=words("four"))
    assert answer.json()["outputs"][0] == {
        "name": "y",
        "datatype": "FP32",
        "shape": [1, 4],
        "data": [5.0, 5.0, 5.0, 5.0],
    }
