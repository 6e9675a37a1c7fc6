"""Tensor bytes: views where possible, and every size held against the other."""

import time

import numpy as np
import pytest
from hypothesis import given
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from runtimes.tensors import DATATYPES, Array
from server.domain.errors import InvalidRequest
from server.wire import raw
from tests.wire.strategies import same, tensors

WHAT = "input 'X' for model 'm'"


def decode(data: bytes, datatype: str, shape: list[int]) -> Array:
    return raw.decode(data, 0, len(data), DATATYPES[datatype], shape, WHAT)


@given(tensors(sorted(DATATYPES)))
def test_every_datatype_comes_back_as_it_went(array: Array):
    name = next(name for name, datatype in DATATYPES.items() if datatype.dtype == array.dtype)
    assert same(decode(bytes(raw.encode(array)), name, list(array.shape)), array)


@given(tensors(["BYTES"]))
def test_bytes_elements_are_laid_out_as_tritons_client_lays_them(array: Array):
    theirs = serialize_byte_tensor(array)
    assert raw.encode(array) == (theirs.item() if theirs.size else b"")
    assert deserialize_bytes_tensor(raw.encode(array)).tolist() == array.reshape(-1).tolist()


def test_numbers_are_viewed_and_not_copied():
    body = bytearray(b"head" + np.arange(4, dtype=np.float32).tobytes())
    array = raw.decode(body, 4, 16, DATATYPES["FP32"], [2, 2], WHAT)
    body[4:8] = np.float32(9).tobytes()
    assert array[0, 0] == 9


def test_a_large_array_is_viewed_when_it_is_written():
    array = np.zeros(10_000, np.float32)
    assert np.shares_memory(np.frombuffer(raw.encode(array), np.float32), array)


def test_an_array_with_gaps_is_written_row_by_row():
    array = np.arange(20_000, dtype=np.int64).reshape(2, -1)[:, ::2]
    assert bytes(raw.encode(array)) == array.tobytes()


def test_text_in_a_bytes_output_is_written_as_utf_8():
    assert raw.encode(np.array(["é"], dtype=object)) == b"\x02\0\0\0\xc3\xa9"


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "says"),
    [
        (bytes(15), "FP32", [1, 4], "Expected 16, got 15"),
        (bytes(17), "FP32", [1, 4], "Expected 16, got 17"),
        (b"", "INT64", [1], "Expected 8, got 0"),
        (bytes(8), "FP32", [2**63, 2**63], "Expected"),
        (b"", "FP32", [0, 2**62], "unexpected shape"),
        (b"", "FP32", [0, 2**64], "unexpected shape"),
        (bytes(4), "FP32", [1] * 100, "unexpected shape"),
        (b"", "BYTES", [0, 2**64], "unexpected shape"),
        (b"\x02", "BOOL", [1], "0 or 1"),
        (b"", "BYTES", [1], "unexpected number of string elements"),
        (b"", "BYTES", [2**62], "unexpected number of string elements"),
        (b"\x09\0\0\0abc", "BYTES", [1], "incomplete string data"),
        (b"\xff\xff\xff\xffabc", "BYTES", [1], "incomplete string data"),
        (b"\x04\0\0\0abcdef", "BYTES", [2], "incomplete string length"),
        (b"\x01\0\0\0abcdef", "BYTES", [1], "5 bytes follow"),
        (b"abc", "BYTES", [0], "3 bytes follow"),
    ],
)
def test_sizes_that_disagree_are_refused(data: bytes, datatype: str, shape: list[int], says: str):
    with pytest.raises(InvalidRequest, match=says) as refused:
        decode(data, datatype, shape)
    assert "'X'" in str(refused.value)


def test_many_strings_are_read_in_time_that_grows_with_their_number():
    few = raw.encode(np.array([b"abc"] * 20_000, dtype=object))
    many = raw.encode(np.array([b"abc"] * 200_000, dtype=object))
    started = time.process_time()
    decode(bytes(few), "BYTES", [20_000])
    between = time.process_time()
    decode(bytes(many), "BYTES", [200_000])
    assert time.process_time() - between < 100 * (between - started)


def test_large_strings_are_written_without_a_copy_and_cut_out_of_any_buffer_once():
    large, small = b"x" * 100_000, b"y"
    array = np.array([large, small], dtype=object)
    pieces = raw.pieces(array)
    assert any(piece is large for piece in pieces)
    whole = b"".join(pieces)
    assert whole == raw.encode(array)
    assert len(raw.pieces(np.array([small, small], dtype=object))) == 1
    for buffer in (whole, bytearray(whole), memoryview(whole)):
        read = raw.decode(buffer, 0, len(whole), DATATYPES["BYTES"], [2], "it")
        assert read.tolist() == [large, small]
        assert all(type(element) is bytes for element in read)


def test_a_large_string_that_is_cut_short_is_refused_in_a_view_as_well():
    whole = raw.encode(np.array([b"x" * 100_000], dtype=object))
    with pytest.raises(InvalidRequest, match="has 100000 bytes, but only 99999 are left"):
        raw.decode(memoryview(whole)[:-1], 0, len(whole) - 1, DATATYPES["BYTES"], [1], "it")
