"""Each tier alone, with public clients: what it has, what it tells, and what it answers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from protos import inference_pb2, stage_pb2
from tests.e2e.triton import tensors
from tests.e2e_tiers.kitchen import MODELS
from tests.server_process import Server
from tests.tier_processes import endpoints, tier

RUNTIMES = re.compile(r"onnxruntime|libtorch|/torch/")


def models(server: Server) -> set[str]:
    return {model for (model, _), (state, _) in server.index().items() if state == "READY"}


def infer(server: Server, model: str, *inputs: dict[str, Any], **more: Any) -> Any:
    answer = server.client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **more})
    return answer.status_code, answer.json()


def numbers(name: str, *values: float) -> dict[str, Any]:
    return {"name": name, "shape": [len(values), 1], "datatype": "FP32", "data": list(values)}


def texts(name: str, *values: str) -> dict[str, Any]:
    return {"name": name, "shape": [len(values), 1], "datatype": "BYTES", "data": list(values)}


def outputs(answer: Any) -> dict[str, Sequence[Any]]:
    status, body = answer
    assert status == 200, body
    return {tensor["name"]: tensor["data"] for tensor in body["outputs"]}


def mapped(server: Server) -> str:
    """The files that the process has in memory."""
    return Path(f"/proc/{server.pid}/maps").read_text()


def test_a_tier_has_the_versions_that_have_its_stage(pre, predict, post):
    assert models(pre) == {"curious", "lengths", "misfit", "picky"}
    assert models(predict) == {"animals", "curious", "lengths", "misfit", "picky", "shouting"}
    assert models(post) == {"curious", "picky", "shouting"}


def test_code_is_served_without_a_runtime_and_a_model_with_one(pre, predict, post):
    assert RUNTIMES.search(mapped(pre)) is None
    assert RUNTIMES.search(mapped(post)) is None
    assert RUNTIMES.search(mapped(predict)) is not None


def test_a_tier_is_healthy_and_ready_on_every_door(pre, predict, post):
    for server in (pre, predict, post):
        with triton_http.InferenceServerClient(server.http) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("picky")
            assert not client.is_model_ready("nobody")
        with triton_grpc.InferenceServerClient(server.grpc) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("picky", "1")
            assert client.get_server_metadata().name == "tercet"


def test_metadata_says_what_each_tier_knows(pre, predict, post):
    def said(server: Server, model: str) -> tuple[list[str], list[str]]:
        body = server.client.get(f"/v2/models/{model}").json()
        assert body["platform"] == "onnxruntime_onnx"
        return tuple([tensor["name"] for tensor in body[side]] for side in ("inputs", "outputs"))

    assert said(pre, "lengths") == (["text"], [])
    assert said(predict, "lengths") == (["x"], ["y"])
    assert said(post, "shouting") == ([], ["word"])
    assert said(predict, "shouting") == (["x"], ["y"])


def test_a_tier_shows_its_configuration(pre, predict):
    with triton_grpc.InferenceServerClient(predict.grpc) as client:
        config = client.get_model_config("lengths").config
        assert [tensor.name for tensor in config.input] == ["x"]
    assert pre.client.get("/v2/models/lengths/config").json()["max_batch_size"] == 8


def test_a_predict_tier_answers_with_the_models_own_signature(predict):
    with triton_http.InferenceServerClient(predict.http) as client:
        rows = tensors(triton_http, {"x": np.array([[3]], np.float32)})
        assert client.infer("picky", rows).as_numpy("y").tolist() == [[6]]
        assert client.infer("lengths", rows).as_numpy("y").tolist() == [[6]]
        negative = tensors(triton_http, {"x": np.array([[-1]], np.float32)})
        assert client.infer("picky", negative).as_numpy("y").tolist() == [[-2]]  # no pre.py to refuse it


def test_a_predict_tier_does_not_take_what_only_pre_processing_would(predict):
    status, body = infer(predict, "lengths", texts("text", "four"))
    assert status == 400
    assert body["error"].startswith("unexpected inference input 'text' for model 'lengths'; it takes 'x'")


def test_a_post_tier_takes_what_the_model_gives(post):
    assert outputs(infer(post, "shouting", numbers("y", 6, 1.5))) == {"word": ["6!", "1.5!"]}
    assert outputs(infer(post, "picky", numbers("y", 6), outputs=[{"name": "y"}])) == {"y": [6]}


def test_a_post_tier_refuses_in_its_codes_words_and_does_not_give_what_it_has_not(post):
    assert infer(post, "picky", numbers("y", 8)) == (400, {"error": "nothing weighs 8 kg"})
    status, body = infer(post, "shouting", numbers("y", 6), outputs=[{"name": "y"}])
    assert (status, body["error"]) == (
        400,
        "unexpected inference output 'y' for model 'shouting'; it gives 'word'",
    )
    status, body = infer(post, "picky", numbers("y", 10), id="lost-scales")
    assert (status, body["error"]) == (
        500,
        "the post stage of model 'picky' version 1 failed; the server's log has the details under request id "
        "lost-scales",
    )
    post.until(lambda: "the scales are at home" in post.log, within_s=5)


def test_a_pre_tier_goes_on_to_the_other_tiers_and_answers_for_all(pre):
    assert outputs(infer(pre, "lengths", texts("text", "four", "seventh"))) == {"y": [8, 14]}
    assert outputs(infer(pre, "picky", numbers("x", 3))) == {"y": [6]}


def test_a_pre_tier_refuses_as_the_fused_server_does(pre, fused):
    cases = [
        ("picky", numbers("x", -1)),
        ("picky", numbers("x", 4)),
        ("lengths", numbers("text", 4)),
        ("lengths", texts("word", "four")),
    ]
    for model, tensor in cases:
        assert infer(pre, model, tensor) == infer(fused, model, tensor)
    for model, value in (("picky", 1000), ("picky", 5), ("misfit", 1)):
        assert infer(pre, model, numbers("x", value), id="7") == infer(
            fused, model, numbers("x", value), id="7"
        )


def test_a_pre_tier_that_knows_no_other_answers_with_what_its_code_made(kitchen, tmp_path):
    with tier(tmp_path, "pre", kitchen) as alone:
        assert outputs(infer(alone, "lengths", texts("text", "four"))) == {"x": [4]}
        assert outputs(infer(alone, "picky", numbers("x", 3))) == {"x": [3]}
        assert infer(alone, "picky", numbers("x", -1)) == (
            400,
            {"error": "x must not be below 0, as it is a weight in kg"},
        )
        status, body = infer(alone, "lengths", texts("text", "four"), outputs=[{"name": "y"}])
        assert (status, body["error"]) == (
            400,
            "unexpected inference output 'y' for model 'lengths'; it gives 'x'",
        )
        statistics = alone.client.get("/v2/models/lengths/stats").json()["model_stats"][0]
        assert statistics["inference_stats"]["success"]["count"] == 1


def test_a_request_that_needs_a_tier_that_nobody_named_is_told_which(kitchen, tmp_path):
    """The predict tier would go on to the post tier, and has not been told where that is."""
    with (
        tier(tmp_path, "predict", kitchen) as predict,
        tier(tmp_path, "pre", kitchen, predict=[predict]) as pre,
    ):
        assert outputs(infer(pre, "lengths", texts("text", "four"))) == {"y": [8]}
        status, body = infer(pre, "picky", numbers("x", 3))
        assert status == 503
        assert body["error"].startswith("the post tier cannot answer for model 'picky'")


def test_several_clients_of_a_pre_tier_each_get_their_own_answer(pre):
    with triton_http.InferenceServerClient(pre.http, concurrency=16) as client:
        asked = []
        for number in range(64):
            text = np.array([["a" * number]], object)
            asked.append(client.async_infer("lengths", tensors(triton_http, {"text": text})))
        answers = [each.get_result().as_numpy("y").item() for each in asked]
    assert answers == [2 * number for number in range(64)]


# What gateways ask of a tier.


def watch(server: Server, stop: Any) -> list[stage_pb2.Report]:
    """What a tier tells, until `stop` holds of a report."""
    reports: list[stage_pb2.Report] = []
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_stream(
            "/tercet.stage.v1.Stage/Watch",
            request_serializer=stage_pb2.WatchRequest.SerializeToString,
            response_deserializer=stage_pb2.Report.FromString,
        )
        for report in call(stage_pb2.WatchRequest(), timeout=20):
            reports.append(report)
            if stop(report):
                return reports
    return reports


def order(server: Server, **order: Any) -> stage_pb2.ControlReply:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/tercet.stage.v1.Stage/Control",
            request_serializer=stage_pb2.ControlRequest.SerializeToString,
            response_deserializer=stage_pb2.ControlReply.FromString,
        )
        return call(stage_pb2.ControlRequest(**order), timeout=20)


def test_a_tier_tells_what_it_has_and_gives_signs_of_life(pre, predict, post):
    whole = {server: watch(server, lambda report: True)[0] for server in (pre, predict, post)}
    assert all(report.whole and report.ready and report.instance for report in whole.values())
    contents = [
        {each.content for each in report.versions if each.model == "picky"} for report in whole.values()
    ]
    assert contents[0] == contents[1] == contents[2] != {""}
    signs = watch(post, lambda report: not report.whole)
    assert not signs[-1].versions
    assert signs[-1].instance == whole[post].instance != whole[pre].instance


def test_an_ensemble_is_told_of_by_the_predict_tier(predict):
    (report,) = watch(predict, lambda report: True)
    (chain,) = [each for each in report.versions if each.model == "chain"]
    assert (chain.state, chain.platform, list(chain.stages)) == ("READY", "ensemble", [])


@pytest.mark.slow
def test_a_fused_server_may_be_every_tier(fused, tmp_path):
    (report,) = watch(fused, lambda report: True)
    assert report.stage == stage_pb2.STAGE_UNSPECIFIED
    assert {each.model for each in report.versions if each.state == "READY"} == set(MODELS)
    everywhere = [*endpoints("pre", [fused]), *endpoints("post", [fused])]
    with tier(tmp_path, "gateway", predict=[fused], options=everywhere) as gateway:
        for model, tensor in (("lengths", texts("text", "four")), ("picky", numbers("x", 3))):
            assert infer(gateway, model, tensor) == infer(fused, model, tensor)


def test_orders_are_refused_where_control_is_not_allowed(pre):
    fault = order(pre, load=stage_pb2.Load(model="picky")).fault
    assert (fault.kind, fault.stage) == ("ControlRefused", stage_pb2.PRE)
    assert fault.sentence == "explicit model load / unload is not allowed if polling is enabled"


def test_statistics_of_a_tier_can_be_ordered(predict):
    infer(predict, "animals", {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]})
    reply = order(predict, statistics=stage_pb2.StatisticsOf(model="animals"))
    counted = inference_pb2.ModelStatisticsResponse.FromString(reply.statistics)
    assert counted.model_stats[0].inference_count >= 1
    unknown = order(predict, statistics=stage_pb2.StatisticsOf(model="nobody")).fault
    assert (unknown.kind, unknown.sentence) == (
        "StatisticsUnknown",
        "requested model 'nobody' is not available",
    )


def test_an_order_loads_and_unloads_the_part_that_a_tier_has(kitchen, tmp_path):
    options = ["--model-control-mode=explicit"]
    with tier(tmp_path, "post", kitchen, options=options) as post:
        assert models(post) == set()
        for model in ("shouting", "animals"):  # of animals there is nothing for this tier to do
            assert not order(post, load=stage_pb2.Load(model=model)).HasField("fault")
        assert models(post) == {"shouting"}
        assert outputs(infer(post, "shouting", numbers("y", 6))) == {"word": ["6!"]}
        missing = order(post, load=stage_pb2.Load(model="nobody")).fault
        assert missing.kind == "LoadUnknown"
        assert not order(post, unload=stage_pb2.Unload(model="shouting")).HasField("fault")
        assert models(post) == set()
        nothing = order(post).fault
        assert (nothing.kind, nothing.sentence) == (
            "InvalidRequest",
            "the order is none that this release knows",
        )


def test_a_tier_that_leaves_says_so_before_its_port_closes(kitchen, tmp_path):
    with tier(tmp_path, "post", kitchen, options=["--drain-grace-secs=1"]) as post:
        post.terminate()
        with pytest.raises(grpc.RpcError) as ended:
            watch(post, lambda report: False)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert ended.value.details() == "the server is stopping and takes no new requests"
        assert post.wait() == 0
