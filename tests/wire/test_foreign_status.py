"""Another server's refusals in our words."""

import pytest

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    QueueFull,
    RequestTooLarge,
    TierFailed,
    TierUnavailable,
)
from server.wire.codes import CODES, TRITON_CODES
from server.wire.foreign_status import error_of

NOT_OURS_TO_PASS_ON = {1, 5}
"""What the other server cancelled or does not know was neither cancelled nor unknown here."""

OF_OUR_OWN_RIGHTS = {7, 16}
"""Who may not ask there is this process, and not its caller."""


@pytest.mark.parametrize("table", [CODES, TRITON_CODES], ids=["ours", "Triton's"])
def test_a_code_that_we_give_comes_back_as_an_error_with_that_code(table):
    for kind, codes in table.items():
        error = error_of(codes.grpc, "so it is", model="m", version=1)
        if codes.grpc in NOT_OURS_TO_PASS_ON:
            assert CODES[type(error)].grpc == 14, kind
        elif codes.grpc in OF_OUR_OWN_RIGHTS:
            assert CODES[type(error)].grpc == 13, kind
        else:
            assert CODES[type(error)].grpc == codes.grpc, kind


@pytest.mark.parametrize(
    ("code", "sentence", "kind"),
    [
        (14, "Exceeds maximum queue size", QueueFull),
        (14, "Exceeds maximum queue size: model 'm' already has 9 requests waiting", QueueFull),
        (8, "the server already has 256 requests in flight", QueueFull),
        (14, "Request timeout expired", DeadlineExceeded),
        (8, "CLIENT: Received message larger than max (9 vs. 4)", RequestTooLarge),
        (14, "Request for unknown model: 'm' version 1 is not at ready state", TierUnavailable),
        (5, "Model with name m does not exist.", TierUnavailable),
        (13, "Failed to process the request(s) for model 'm'", InferenceFailed),
        (2, "Unexpected <class 'KeyError'>: 'x'", InferenceFailed),
        (3, "unexpected shape for input 'x' for model 'm'", InvalidRequest),
        (16, "no token", TierFailed),
        (1, "so", TierUnavailable),
    ],
)
def test_sentences_tell_apart_what_codes_do_not(code, sentence, kind):
    error = error_of(code, sentence, model="m", version=1)
    assert type(error) is kind


def test_only_what_cannot_have_been_sent_may_be_sent_again():
    def untouched(sentence: str) -> bool:
        return error_of(14, sentence, model="m", version=1).untouched

    assert untouched("failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: refused")
    assert not untouched("Socket closed")
    assert not untouched("keepalive watchdog timeout")


def test_the_sentence_that_our_caller_reads_is_the_other_servers():
    assert str(error_of(3, "x is bad", model="m", version=1)) == "x is bad"
    assert str(error_of(8, "no room", model="m", version=1)) == "no room"
    assert "boom" in str(error_of(13, "boom", model="m", version=1))
