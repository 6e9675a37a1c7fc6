"""The same folders and the same requests, fused in one process and in tiers: the answers are the same."""

from contextlib import ExitStack

import pytest

from tests.e2e.workshop import put, times
from tests.server_process import running
from tests.tier_processes import endpoints, tier

pytestmark = pytest.mark.slow  # tests/e2e_tiers/test_equal_answers.py has the heart of it

CONFIG = "max_batch_size: 4\n"
PICKY = """
def preprocess(tensors):
    x = tensors["x"]
    if (x == 7).any():
        raise ValueError("seven is not for sale")
    if (x == 8).any():
        raise LookupError("a secret of the code")
    return {"nobody asked": x} if (x == 9).any() else tensors
"""
WORDS = """
import numpy
INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
def preprocess(tensors):
    return {"x": numpy.array([[len(text), 0] for (text,) in tensors["text"]], numpy.float32)}
"""
FORGETFUL = """
OUTPUTS = [{"name": "z", "datatype": "FP32", "shape": [-1, 2]}]
def postprocess(tensors):
    y = tensors["y"]
    return {"w": y} if (y == 2).any() else {"w": y, "z": y}
"""
CHATTY = """
def postprocess(tensors):
    if (tensors["y"] == 14).any():
        raise ValueError("fourteen is not for sale")
    return {"w": tensors["y"], "y": tensors["y"]}
"""
MODELS = ("plain", "rowless", "picky", "forgetful", "chatty", "words")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The fused server, and the gateway."""
    folder, logs = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("logs")
    put(folder, "plain", times(2, 2), CONFIG)
    put(folder, "rowless", times(2, 2), "max_batch_size: 0\n")
    put(folder, "picky", times(2, 2), CONFIG, pre_py=PICKY)
    put(folder, "words", times(2, 2), CONFIG, pre_py=WORDS)
    put(folder, "forgetful", times(2, 2), CONFIG, post_py=FORGETFUL)
    put(folder, "chatty", times(2, 2), CONFIG, pre_py=PICKY, post_py=CHATTY)
    with ExitStack() as stack:

        def start(role, *repositories, **more):
            return stack.enter_context(tier(logs, role, *repositories, wait=False, **more))

        fused = stack.enter_context(running(logs / "fused.log", folder, wait=False))
        post = start("post", folder)
        predict = start("predict", folder, post=[post])
        pre = start("pre", folder, predict=[predict])
        gateway = start("gateway", predict=[predict], post=[post], options=endpoints("pre", [pre]))
        for server in (fused, gateway):
            server.until(server.ready, within_s=60)
        yield fused, gateway


def x(*rows, name="x", datatype="FP32"):
    data = [value for row in rows for value in row]
    return {"name": name, "datatype": datatype, "shape": [len(rows), len(rows[0])], "data": data}


QUESTIONS = {
    "a row": {"inputs": [x([3, 4])]},
    "as many rows as may be": {"inputs": [x(*[[3, 0]] * 4)]},
    "a row too many": {"inputs": [x(*[[3, 0]] * 5)]},
    "what code refuses": {"inputs": [x([7, 0])]},
    "what code fails on": {"inputs": [x([8, 0])]},
    "what code answers wrongly": {"inputs": [x([9, 0])]},
    "what code forgets": {"inputs": [x([1, 0])]},
    "another shape": {"inputs": [x([1, 2, 3])]},
    "another datatype": {"inputs": [x([1, 2], datatype="INT32")]},
    "another name": {"inputs": [x([1, 2], name="w")]},
    "no inputs": {"inputs": []},
    "words": {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": ["abc", "de"]}]},
    "the output of the model": {"inputs": [x([3, 4])], "outputs": [{"name": "y"}]},
    "the output of the code": {"inputs": [x([3, 4])], "outputs": [{"name": "z"}]},
    "an output of nobody": {"inputs": [x([3, 4])], "outputs": [{"name": "w"}]},
}


def told(server, model, question):
    answer = server.client.post(f"/v2/models/{model}/infer", json={"id": "the same", **question})
    return answer.status_code, answer.json()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_gateway_answers_as_the_fused_server_does(both, model, question):
    fused, gateway = both
    assert told(gateway, model, QUESTIONS[question]) == told(fused, model, QUESTIONS[question])


@pytest.mark.parametrize("path", ["", "/config", "/ready"])
@pytest.mark.parametrize("model", MODELS)
def test_a_gateway_shows_of_a_model_what_the_fused_server_does(both, model, path):
    fused, gateway = both
    shown = [server.client.get(f"/v2/models/{model}{path}").json() for server in (gateway, fused)]
    assert shown[0] == shown[1]
