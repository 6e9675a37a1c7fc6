"""A message of the stream is what protobuf would make of it, though the answer in it is not read again."""

import pytest

from protos import inference_pb2 as pb
from server.domain.request import NO_PARAMETERS
from server.wire import stream_proto


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_an_answer_is_wrapped_as_it_is(size: int):
    answer = pb.ModelInferResponse(model_name="m", id="7", raw_output_contents=[bytes(size)])
    wire = stream_proto.answer(answer.SerializeToString())
    told = pb.ModelStreamInferResponse.FromString(wire)
    assert told.infer_response == answer
    assert told.error_message == ""


def test_a_refusal_has_the_sentence_and_names_the_request():
    request = pb.ModelInferRequest(model_name="m", model_version="2", id="7")
    told = pb.ModelStreamInferResponse.FromString(stream_proto.refusal("no: \ud800", request))
    assert told.error_message == "no: ?"
    response = told.infer_response
    assert (response.model_name, response.model_version, response.id) == ("m", "2", "7")
    assert response.parameters["triton_final_response"].bool_param is True


def test_the_parameters_of_an_answer_stay_beside_the_mark_of_the_last():
    assert stream_proto.last(NO_PARAMETERS) == {"triton_final_response": True}
    assert stream_proto.last({"seed": 3}) == {"seed": 3, "triton_final_response": True}
