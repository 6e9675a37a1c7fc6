"""An inference as a client writes and reads it: held against the server's own codec."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import inference_pb2 as pb
from server.domain.request import InferResponse
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES
from server.wire import infer_proto
from server.wire.foreign import AnswerUnread, answer_of, request_of
from server.wire.form import AS_BYTES

ANY = Signature("m", [], [], 0)


def array_of(datatype: str, rows: int) -> np.ndarray:
    numbers = np.arange(rows * 3).reshape(rows, 3)
    if datatype == "BYTES":
        return np.array([[str(number).encode() for number in row] for row in numbers], object).reshape(
            rows, 3
        )
    return (numbers % 2).astype(DATATYPES[datatype].dtype)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_rows_of_several_requests_are_one_request_in_their_order(datatype):
    arrays = [array_of(datatype, rows) for rows in (1, 3, 2)]
    wire = request_of("m", "3", [{"x": array} for array in arrays])
    request, _ = infer_proto.decode(pb.ModelInferRequest.FromString(wire), ANY, now=0.0)
    assert (request.model, request.version, list(request.inputs)) == ("m", "3", ["x"])
    np.testing.assert_array_equal(request.inputs["x"], np.concatenate(arrays))


@given(
    st.text(max_size=9),
    st.dictionaries(
        st.text("abc", min_size=1),
        st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(-9, 9),
    ),
)
def test_what_a_request_says_of_itself_arrives(id, parameters):
    wire = request_of("m", "", [{"x": np.zeros((1, 2), np.float32)}], id=id, parameters=parameters)
    request, _ = infer_proto.decode(pb.ModelInferRequest.FromString(wire), ANY, now=0.0)
    assert (request.id, request.parameters) == (id, parameters)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_an_answer_is_read_as_it_was_written(datatype):
    array = array_of(datatype, 2)
    wire = infer_proto.encode(InferResponse("m", "1", {"y": array}), AS_BYTES)
    np.testing.assert_array_equal(answer_of(wire, "m")["y"], array)


def test_an_answer_in_typed_contents_is_read_too():
    message = pb.ModelInferResponse(model_name="m")
    message.outputs.add(name="y", datatype="FP32", shape=[2]).contents.fp32_contents[:] = [1.5, 2.5]
    np.testing.assert_array_equal(answer_of(message.SerializeToString(), "m")["y"], [1.5, 2.5])


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"\xff\xff", "no ModelInferResponse"),
        (
            pb.ModelInferResponse(
                outputs=[pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[2])],
                raw_output_contents=[b"1234"],
            ).SerializeToString(),
            "byte size mismatch for output 'y' of model 'm'",
        ),
        (
            pb.ModelInferResponse(
                outputs=[pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP33", shape=[0])]
            ).SerializeToString(),
            "datatype 'FP33'",
        ),
        (
            pb.ModelInferResponse(
                outputs=[pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[0])] * 2,
            ).SerializeToString(),
            "more than once",
        ),
    ],
)
def test_an_answer_that_is_none_says_so(wire, why):
    with pytest.raises(AnswerUnread, match=why):
        answer_of(wire, "m")
