"""Every model of the benchmark can be loaded and asked, and its request is the same bytes every time."""

import numpy as np
import orjson
import pytest
from tritonclient.grpc import service_pb2

from benchmarks.ask import Refused, check
from benchmarks.bare import Bare
from benchmarks.call import GRPC_PREFIX_BYTES, Door
from benchmarks.codec import JSON_SIZE, decode_http, encode
from benchmarks.models import MODELS, lay, version_folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_laid_as_triton_would_find_it_and_answers_its_row(name, tmp_path):
    model = MODELS[name]
    lay([model], tmp_path / "models")
    outputs = Bare(version_folder(tmp_path / "models", name)).answer(model.row())
    assert outputs
    assert all(len(output) == 1 and np.isfinite(output).all() for output in outputs.values())


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_a_synthetic_model_is_the_same_bytes_every_time(name, tmp_path):
    for folder in ("one", "two"):
        lay([MODELS[name]], tmp_path / folder)
    one, two = (version_folder(tmp_path / folder, name) / "model.onnx" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_session_runs_batches_of_copies_of_the_row(tmp_path):
    lay([MODELS["tiny"]], tmp_path / "models")
    bare = Bare(version_folder(tmp_path / "models", "tiny"))
    (outputs,) = bare.runner(MODELS["tiny"].row(), 4)()
    assert outputs.shape == (4, 10)


def test_the_wide_model_reads_and_writes_a_mebibyte():
    assert MODELS["wide"].row()["INPUT"].nbytes == 2**20


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_the_same_tensors_over_every_door(name):
    row = MODELS[name].row()
    calls = {door: encode(door, name, row, http_port=1, grpc_port=2) for door in Door}

    in_json = orjson.loads(calls[Door.JSON].body)["inputs"]
    assert {tensor["name"]: tensor["shape"] for tensor in in_json} == {
        tensor: list(array.shape) for tensor, array in row.items()
    }
    json_size = int(calls[Door.BINARY].headers[JSON_SIZE])
    in_binary = orjson.loads(calls[Door.BINARY].body[:json_size])["inputs"]
    message = calls[Door.GRPC].body
    assert int.from_bytes(message[1:GRPC_PREFIX_BYTES], "big") == len(message) - GRPC_PREFIX_BYTES
    in_grpc = service_pb2.ModelInferRequest.FromString(message[GRPC_PREFIX_BYTES:])
    assert b"".join(in_grpc.raw_input_contents) == calls[Door.BINARY].body[json_size:]
    assert [tensor.name for tensor in in_grpc.inputs] == [tensor["name"] for tensor in in_binary] == list(row)


def test_a_reply_in_json_is_read_as_named_arrays():
    body = b'{"model_name":"m","outputs":[{"name":"Y","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
    assert decode_http({"Content-Type": "application/json"}, body)["Y"].tolist() == [[1, 2]]


def test_an_answer_may_be_a_column_where_the_file_has_a_list():
    check({"label": np.array([[2]])}, {"label": np.array([2])})


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"OTHER": np.array([[1.0, 2.0]])}, "answers OTHER where the bare session answers Y"),
        ({"Y": np.array([[1.0]])}, "has shape"),
        ({"Y": np.array([[1.0, 2.1]])}, "other values"),
    ],
)
def test_an_answer_that_differs_is_refused(answer, why):
    with pytest.raises(Refused, match=why):
        check(answer, {"Y": np.array([[1.0, 2.0]])})
