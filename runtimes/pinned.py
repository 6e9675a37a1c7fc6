"""Memory of the host that stays in its place, so that a CUDA device reads and writes it by itself.

Copies from and to it go on beside the processor and beside the device's own work; others are made through a
buffer of the driver's, one after the other. It is asked of the driver, whose library is there wherever a
device is, and holds for every runtime of this process ("portable"). There is one store of it for each
process, as it is dear to make: at most as much stays idle as Triton keeps by default.
"""

import ctypes
from functools import cache
from typing import Any

from runtimes.host_buffers import Block, Buffers, NoRoom

KEEP_BYTES = 1 << 28
PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: pinned for all contexts


@cache
def pinned_buffers() -> Buffers:
    """Where there is no driver, or no more such memory, they give ordinary memory."""
    driver = _Driver.find()
    if driver is None:
        return Buffers(_none, _forget, keep_bytes=0)
    return Buffers(driver.allocate, driver.free, keep_bytes=KEEP_BYTES)


class _Driver:
    """The primary context of the first device, which the runtimes use too: it is made once for a process."""

    def __init__(self, cuda: ctypes.CDLL, context: ctypes.c_void_p) -> None:
        self._cuda = cuda
        self._context = context

    @classmethod
    def find(cls) -> "_Driver | None":
        try:
            cuda = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return None
        device, context = ctypes.c_int(), ctypes.c_void_p()
        if cuda.cuInit(0) != 0 or cuda.cuDeviceGet(ctypes.byref(device), 0) != 0:
            return None
        if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0:
            return None
        return cls(cuda, context)

    def allocate(self, size: int) -> Block:
        place = ctypes.c_void_p()
        if self._within(self._cuda.cuMemHostAlloc, ctypes.byref(place), ctypes.c_size_t(size), PORTABLE) != 0:
            raise NoRoom(f"the driver has no {size} bytes of pinned memory")
        assert place.value is not None
        return (ctypes.c_ubyte * size).from_address(place.value)

    def free(self, block: Block) -> None:
        self._within(self._cuda.cuMemFreeHost, ctypes.c_void_p(ctypes.addressof(block)))

    def _within(self, call: Any, *arguments: Any) -> int:
        """Call it with the context current, and leave the thread as it was."""
        if self._cuda.cuCtxPushCurrent_v2(self._context) != 0:
            return -1
        try:
            return int(call(*arguments))
        finally:
            self._cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def _none(size: int) -> Block:
    raise NoRoom("this machine has no CUDA driver")


def _forget(block: Block) -> None:
    """There is none."""
