"""Buffers that are used again: whose bytes they are, and when they are free."""

import gc
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runtimes.host_buffers import Buffers, NoRoom
from runtimes.pinned import pinned_buffers

MIB = 1 << 20


class Store:
    """Ordinary memory, counted."""

    def __init__(self, most: int = 1 << 40) -> None:
        self.most = most
        self.bytes = 0
        self.made = 0

    def allocate(self, size: int) -> mmap.mmap:
        if self.bytes + size > self.most:
            raise NoRoom("no more")
        self.made += 1
        self.bytes += size
        return mmap.mmap(-1, size)

    def free(self, block: mmap.mmap) -> None:
        self.bytes -= len(block)
        block.close()  # raises BufferError while somebody sees it


def buffers(store: Store, keep_bytes: int = 64 * MIB) -> Buffers:
    return Buffers(store.allocate, store.free, keep_bytes=keep_bytes)


def test_an_array_has_the_shape_and_dtype_that_were_asked_for():
    array = buffers(Store()).array((3, 5), np.float16)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == ((3, 5), np.float16, True)
    assert array.flags.writeable
    assert buffers(Store()).array((0, 5), np.float32).shape == (0, 5)


def test_a_buffer_is_used_again_once_its_last_view_has_gone_and_not_before():
    store = Store()
    pool = buffers(store)
    first = pool.array((1000,), np.float32)
    row = first[10:20].reshape(2, 5)[1]
    row[:] = 7
    del first
    other = pool.array((1000,), np.float32)
    other[:] = 1
    assert store.made == 2
    assert row.tolist() == [7] * 5
    del row
    pool.array((1000,), np.float32)
    assert store.made == 2


def test_sizes_that_are_nearly_alike_share_buffers_and_little_is_wasted():
    store = Store()
    pool = buffers(store)
    pool.array((60 * MIB,), np.uint8)
    assert store.bytes <= 60 * MIB * 9 / 8
    pool.array((60 * MIB - 5,), np.uint8)
    assert store.made == 1


def test_no_more_than_was_said_stays_idle():
    store = Store()
    pool = buffers(store, keep_bytes=4 * MIB)
    taken = [pool.array((MIB,), np.uint8) for _ in range(8)]
    assert store.bytes == 8 * MIB
    taken.clear()
    pool.array((1,), np.uint8)
    assert store.bytes <= 5 * MIB


def test_what_nobody_sees_is_given_back_and_what_somebody_sees_stays():
    store = Store()
    pool = buffers(store)
    kept = pool.array((MIB,), np.uint8)
    pool.array((MIB,), np.uint8)
    pool.give_back()
    assert store.bytes == MIB
    kept[:] = 3
    del kept
    pool.give_back()
    assert store.bytes == 0


def test_without_room_an_array_is_ordinary_memory():
    array = buffers(Store(most=0)).array((4,), np.int64)
    array[:] = 2
    assert array.sum() == 8


def test_threads_never_share_a_buffer():
    pool = buffers(Store())

    def write(number: int) -> bool:
        array = pool.array((5000,), np.int64)
        array[:] = number
        half = array[2500:]
        del array
        return bool((half == number).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write, range(500)))


@pytest.mark.cuda
def test_a_device_knows_pinned_memory_as_such():
    import torch

    array = pinned_buffers().array((1000,), np.float32)
    array[:] = 5
    tensor = torch.from_numpy(array)
    assert tensor.is_pinned()
    assert tensor.to("cuda", non_blocking=True).sum().item() == 5000
    del array, tensor
    gc.collect()
    pinned_buffers().give_back()


def test_without_a_driver_pinned_buffers_are_ordinary_memory():
    assert pinned_buffers().array((10,), np.float32).shape == (10,)
