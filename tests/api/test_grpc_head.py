"""What the header fields of a call say, and what becomes of those that say nothing that can be."""

import gzip
import zlib
from urllib.parse import unquote

import pytest
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.grpc_head import ending, head_of
from server.domain.errors import InvalidRequest, RequestTooLarge
from server.http2.calls import CallHead
from tests.http2.line import OURS, fields_of


def head(*more: tuple[bytes, bytes]) -> CallHead:
    return head_of(fields_of(OURS, *more), OURS)


def said(block: bytes) -> dict[str, str]:
    return {str(name): str(value) for name, value in Decoder().decode(block)}


def test_a_call_of_ours_and_what_is_said_to_grpc_is_no_metadata():
    read = head((b"grpc-timeout", b"100m"), (b"user-agent", b"test"), (b"grpc-accept-encoding", b"gzip"))
    assert read.is_ours
    assert read.refusal == b""
    assert read.said.metadata == (("user-agent", "test"),)
    assert read.said.timeout_s == pytest.approx(0.1)
    assert head().said.timeout_s is None


def test_another_call_is_not_ours_whatever_it_says():
    read = head_of(fields_of(b"/other", (b"a-bin", b"?")), OURS)
    assert (read.is_ours, read.refusal) == (False, b"")


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"99999999n", 0.099999999)],
)
def test_a_timeout_has_a_unit(timeout, seconds):
    assert head((b"grpc-timeout", timeout)).said.timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("timeout", [b"", b"5", b"S", b"123456789S", b"-1S", b"1.5S", b"5x"])
def test_a_timeout_that_cannot_be_read_is_refused_in_words(timeout):
    refusal = said(head((b"grpc-timeout", timeout)).refusal)
    assert refusal["grpc-status"] == "13"
    assert refusal["grpc-message"].startswith("grpc-timeout is ")


@pytest.mark.parametrize(
    ("value", "content"), [(b"AP8=", b"\0\xff"), (b"AP8", b"\0\xff"), (b"", b""), (b"aGk=", b"hi")]
)
def test_metadata_in_base64_are_bytes_with_or_without_their_padding(value, content):
    assert head((b"raw-bin", value)).said.metadata == (("raw-bin", content),)


def test_metadata_that_are_not_base64_are_refused_in_words():
    assert said(head((b"raw-bin", b"!?")).refusal)["grpc-message"] == "raw-bin is not base64"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b":method", b"GET"), *fields_of()[1:]], "400"),
        ([(b":method", b"POST"), (b":path", b"nowhere"), (b"content-type", b"application/grpc")], "400"),
        (fields_of(OURS, (b"Upper", b"")), "400"),
        (fields_of(OURS, (b"connection", b"close")), "400"),
        (fields_of(OURS, (b":path", b"/again")), "400"),
        (fields_of()[:4], "415"),
        ([*fields_of()[:4], (b"content-type", b"application/json")], "415"),
        ([*fields_of()[:4], (b"content-type", b"application/grpc-web")], "415"),
    ],
)
def test_what_is_not_a_call_of_grpc_is_refused_as_http_does(fields, status):
    assert said(head_of(fields, OURS).refusal) == {":status": status}


@pytest.mark.parametrize("kind", [b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_a_call_may_say_more_of_its_kind(kind):
    assert head_of([*fields_of()[:4], (b"content-type", kind)], OURS).refusal == b""


@settings(deadline=None)
@given(st.text())
def test_a_sentence_travels_in_printable_characters_and_back(sentence):
    text = sentence.encode("utf-8", "replace").decode()
    fields = said(ending(5, text))
    assert fields["grpc-status"] == "5"
    assert all(" " <= each <= "~" for each in fields["grpc-message"])
    assert unquote(fields["grpc-message"]) == text


@pytest.mark.parametrize(("packing", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_packed_message_is_unpacked_and_never_to_more_than_it_may_be(packing, pack):
    read = head((b"grpc-encoding", packing)).said
    assert read.unpacked(pack(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(RequestTooLarge, match="more than the 999 bytes"):
        read.unpacked(pack(bytes(1000)), 999)
    with pytest.raises(InvalidRequest, match="cannot be unpacked"):
        read.unpacked(pack(bytes(1000))[:-3], 1000)
    with pytest.raises(InvalidRequest, match="cannot be unpacked"):
        read.unpacked(b"what is that", 1000)


def test_a_message_that_is_packed_in_no_way_we_know_is_refused_in_words():
    with pytest.raises(InvalidRequest, match="by 'snappy'; we know gzip and deflate"):
        head((b"grpc-encoding", b"snappy")).said.unpacked(b"", 10)
