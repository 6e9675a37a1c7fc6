"""Where a model runs, and which CUDA devices there are for it.

Looking costs nothing on a machine without a GPU, and never imports a runtime.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Device:
    """The host's processors, or the CUDA device of that index among the visible ones."""

    kind: Literal["cpu", "cuda"]
    index: int = 0

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


CPU = Device("cpu")

DRIVER_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Present where a driver is: on Linux, and under WSL."""


def cuda_devices(platform: str) -> Sequence[Device]:
    """The CUDA devices that the package installed for this platform can use; empty where it has none."""
    if not any(node.exists() for node in DRIVER_NODES) or not _package_has_cuda(platform):
        return ()
    visible = visible_count(_installed_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return tuple(Device("cuda", index) for index in range(visible))


def visible_count(installed: int, visible_devices: str | None) -> int:
    """How many devices CUDA shows, by its own rule: the list ends before the first entry that is none."""
    if visible_devices is None:
        return installed
    count = 0
    for entry in (each.strip() for each in visible_devices.split(",")):
        names_one = int(entry) < installed if entry.isdecimal() else entry.startswith(("GPU-", "MIG-"))
        if not names_one:
            break
        count += 1
    return count


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package_has_cuda(platform: str) -> bool:
    if platform == "onnxruntime_onnx":
        return installed_version("onnxruntime-gpu") is not None
    if platform == "sleeping":
        return False
    version = installed_version("torch")
    return version is not None and not version.endswith("+cpu")


def _installed_count() -> int:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    if nvml.nvmlInit_v2() != 0:
        return 0
    try:
        count = ctypes.c_uint()
        return count.value if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0
    finally:
        nvml.nvmlShutdown()
