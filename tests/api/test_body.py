"""Which encoding an answer has, by what its caller accepts."""

import gzip
import zlib

import pytest

from server.api.body import pack

BODY = b"[" + b"1.5," * 1000 + b"2]"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("GZip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("deflate, gzip", "deflate"),
        ("br, deflate", "deflate"),
        ("br", ""),
        ("identity", ""),
        ("gzip, identity", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip; q=0.5 , deflate ; q=0.4", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000, *", "deflate"),
        ("gzip;q=0.2, identity;q=0.8", ""),
        ("gzip;q=0.2, identity;q=0.1", "gzip"),
        ("*;q=0", ""),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("gzip;q=high", "gzip"),
        ("gzip;q=7", "gzip"),
        ("gzip;q=-1", ""),
        ("gzip;q=nan", ""),
        ("gzip;q=1;level=9", "gzip"),
        (",;,=;q", ""),
    ],
)
def test_an_answer_has_the_encoding_of_the_highest_weight(accepted: str, encoding: str):
    packed, name = pack(BODY, accepted.encode())
    assert name == encoding.encode()
    assert {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}[encoding](packed) == BODY


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", b""),
        ("*", b""),
        ("gzip, identity;q=0.5", b""),
        ("gzip, identity;q=0", b"gzip"),
        ("deflate;q=0.1, *;q=0", b"deflate"),
        ("identity;q=0", b""),
    ],
)
def test_an_answer_that_gains_nothing_is_packed_only_for_who_refuses_it_as_it_is(
    accepted: str, encoding: bytes
):
    assert pack(b"{}", accepted.encode(), worth=False)[1] == encoding
