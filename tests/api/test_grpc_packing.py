"""Answers of gRPC for clients that can unpack them."""

import asyncio
import random
import zlib

import pytest

from server.api.grpc_packing import AT_ONCE_BYTES, EFFORT, PackedLine, best_of
from tests.http2.line import Line, message


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (b"identity, deflate, gzip", b"gzip"),
        (b"identity,deflate", b"deflate"),
        (b"identity", b""),
        (b"snappy", b""),
        (b"", b""),
    ],
)
def test_of_what_a_client_can_unpack_the_best_is_taken(accepted, encoding):
    assert best_of(accepted) == encoding


def whole(line: Line) -> tuple[dict[bytes, bytes], bytes]:
    """The fields of an answer, and its message behind the prefix."""
    first, *rest, last = line.written()
    assert line.fields(last) == [(b"grpc-status", b"0")]
    return dict(line.fields(first)), b"".join(each.payload for each in rest)


def asked() -> Line:
    line = Line()
    line.feed(line.call(1, b"question"))
    return line


@pytest.mark.asyncio
@pytest.mark.parametrize("effort", EFFORT.values())
@pytest.mark.parametrize(("encoding", "bits"), [(b"gzip", 31), (b"deflate", 15)])
@pytest.mark.parametrize("size", [1000, AT_ONCE_BYTES + 1])
async def test_an_answer_that_gets_shorter_is_packed_whatever_its_size(effort, encoding, bits, size):
    line, work = asked(), []
    packed = PackedLine(line.connection, encoding, effort, work.append)
    assert packed.answer(1, bytes(size))
    await asyncio.gather(*work)
    fields, content = whole(line)
    assert fields[b"grpc-encoding"] == encoding
    assert content[:1] == b"\1"
    assert int.from_bytes(content[1:5]) == len(content) - 5 < size
    assert zlib.decompress(content[5:], bits) == bytes(size)


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [bytes(100), random.Random(0).randbytes(1000)])
async def test_one_that_is_short_or_would_not_get_shorter_goes_as_it_is(content):
    line = asked()
    assert PackedLine(line.connection, b"gzip", 9, pytest.fail).answer(1, content)
    fields, sent = whole(line)
    assert b"grpc-encoding" not in fields
    assert sent == message(content)


@pytest.mark.asyncio
async def test_who_has_left_meanwhile_gets_nothing():
    line, work = asked(), []
    packed = PackedLine(line.connection, b"gzip", 6, work.append)
    packed.answer(1, bytes(AT_ONCE_BYTES + 1))
    line.connection.fail(1, b"")
    before = line.written()
    await asyncio.gather(*work)
    assert len(before) == 1
    assert not line.written()
