"""Tensors laid into bytes come out as they went in."""

import numpy as np
import pytest

from runtimes.packing import Garbled, Packed, unpacked
from runtimes.slab import ALIGNMENT
from runtimes.tensors import DATATYPES
from tests.runtimes.models import values_of


def there_and_back(tensors):
    packed = Packed.of(tensors)
    room = np.full(packed.size, 255, np.uint8)
    packed.lay(room)
    return packed, unpacked(packed.told, room)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_comes_back_bit_for_bit(datatype):
    sent = values_of(datatype)
    _, read = there_and_back({"x": sent, "y": sent[:1]})
    assert (read["x"].dtype, read["x"].shape, read["y"].shape) == (sent.dtype, (2, 3), (1, 3))
    assert read["x"].tolist() == sent.tolist()
    assert read["y"].tolist() == sent[:1].tolist()


def test_empty_tensors_and_scalars_keep_their_shape():
    empty, scalar = np.empty((0, 3), np.float32), np.array(7, np.int64)
    _, read = there_and_back({"empty": empty, "scalar": scalar, "texts": np.empty((2, 0), np.object_)})
    assert (read["empty"].shape, read["scalar"].shape, read["texts"].shape) == ((0, 3), (), (2, 0))
    assert read["scalar"] == 7


def test_text_may_be_str_and_comes_back_as_utf_8():
    _, read = there_and_back({"x": np.array(["é", b"\xff"], object)})
    assert read["x"].tolist() == ["é".encode(), b"\xff"]


def test_each_tensor_begins_where_the_processor_likes_it():
    packed, _ = there_and_back({"a": np.zeros(1, np.uint8), "b": np.zeros(3, np.float64)})
    assert [start % ALIGNMENT for *_, start, _ in packed.told] == [0, 0]


def test_arrays_that_do_not_lie_in_one_piece_are_read_in_their_order():
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    _, read = there_and_back({"x": whole.T, "y": whole[:, ::2]})
    assert read["x"].tolist() == whole.T.tolist()
    assert read["y"].tolist() == whole[:, ::2].tolist()


def test_a_dtype_that_the_protocol_lacks_is_refused():
    with pytest.raises(KeyError):
        Packed.of({"x": np.zeros(1, np.complex64)})


@pytest.mark.parametrize(
    "told",
    [
        ["y", "UINT8", [960000], 0, 0],
        ["y", "UINT8", [8], 0, 4],
        ["y", "UINT8", [-4], 0, 4],
        ["y", "UINT8", [-2, -2], 0, 4],
        ["y", "UINT8", [4], -4, 4],
        ["y", "UINT8", [4], 62, 4],
        ["y", "UINT8", [4.0], 0, 4],
        ["y", "UINT8", 4, 0, 4],
        ["y", "FP32", [1], 0, "4"],
        ["y", "BYTES", [2**40], 0, 64],
        ["y", "BYTES", [1], 0, 0],
        ["y", "BYTES", [1], 0, 8],
        ["y", "BYTES", [2], 0, 64],
        ["y", "FP7", [1], 0, 4],
        ["y", "UINT8"],
        7,
    ],
)
def test_what_cannot_be_so_is_not_read(told):
    room = np.full(64, 60, np.uint8)  # as a length, it is beyond the room
    room[0:4] = (0, 0, 0, 0)
    with pytest.raises(Garbled):
        unpacked([told], room)
