"""Every refusal has its codes, and nothing internal gets out."""

import json

from server.domain.errors import DeadlineExceeded, QueueFull, ServingError
from server.wire.codes import CODES, TRITON_CODES, Codes, codes_of, error_body, sentence_of


def family(root: type[ServingError]) -> set[type[ServingError]]:
    return {kind for child in root.__subclasses__() for kind in (child, *family(child))}


def test_every_refusal_has_its_codes():
    assert family(ServingError) == CODES.keys() == TRITON_CODES.keys()


def test_overload_and_lateness_have_codes_of_their_own_unless_triton_s_are_asked_for():
    assert codes_of(QueueFull("m", 64, 0.1)) == Codes(http=429, grpc=8)
    assert codes_of(DeadlineExceeded("m")) == Codes(http=504, grpc=4)
    assert codes_of(QueueFull("m", 64, 0.1), TRITON_CODES) == Codes(http=503, grpc=14)
    assert codes_of(DeadlineExceeded("m"), TRITON_CODES) == Codes(http=503, grpc=14)


def test_an_error_of_our_own_making_says_nothing_internal():
    error = OSError("/var/secret/model.onnx is gone")
    assert codes_of(error) == Codes(http=500, grpc=13)
    assert "secret" not in sentence_of(error)


def test_an_error_body_is_json_with_one_key_whatever_the_sentence_holds():
    for sentence in ('say "no"', "line\nbreak", "half a pair: \ud800"):
        assert list(json.loads(error_body(sentence))) == ["error"]
