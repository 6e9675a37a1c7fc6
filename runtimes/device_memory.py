"""How much memory a CUDA device has and how much of it is free, whoever uses it, as its driver says.

Makes no context on the device, which would itself take some hundred MiB. A device is found by its UUID, as
CUDA_VISIBLE_DEVICES may give it another number than the machine does.
"""

import ctypes
from dataclasses import dataclass

from runtimes.device import Device


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    total_bytes: int
    free_bytes: int


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def device_memory(device: Device) -> DeviceMemory | None:
    """None where there is no such device, or no driver that tells. Blocks for some milliseconds."""
    if device.kind != "cuda":
        return None
    try:
        cuda, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    uuid = _uuid(cuda, device.index)
    if uuid is None or nvml.nvmlInit_v2() != 0:
        return None
    try:
        handle, memory = ctypes.c_void_p(), _Memory()
        if nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
            return None
        if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
            return None
        return DeviceMemory(int(memory.total), int(memory.free))
    finally:
        nvml.nvmlShutdown()


def _uuid(cuda: ctypes.CDLL, index: int) -> str | None:
    """As NVML writes it: GPU-8-4-4-4-12 hexadecimal digits."""
    device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    if cuda.cuDeviceGetUuid(raw, device) != 0:
        return None
    digits = bytes(raw).hex()
    return "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
