"""Decides where the instances of a model stand, and how many. Pure: the devices are an argument."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.device import CPU, Device
from runtimes.errors import DeviceMissing
from server.domain.configuration import InstanceGroup, InstanceKind, Platform, Resource

DEFAULT_CPU_COUNT = {Platform.ONNX: 2}
"""Instances on the CPU where no count is configured, as in Triton; 1 for all others."""


@dataclass(frozen=True, slots=True)
class Placement:
    """So many instances on a device.

    resources, priority   what the rate limiter is told of each of them
    """

    device: Device
    count: int
    resources: tuple[Resource, ...] = ()
    priority: int = 0


def place(
    groups: Sequence[InstanceGroup], platform: Platform, gpus: Sequence[Device]
) -> tuple[Placement, ...]:
    """A placement per device, in the order configured; the counts of groups that meet add up if they ask the
    same of the rate limiter.

    Raises `DeviceMissing`, naming the group's devices and those that there are.
    """
    counts: dict[tuple[Device, tuple[Resource, ...], int], int] = {}
    for group in groups:
        for device in _devices(group, gpus):
            default = DEFAULT_CPU_COUNT.get(platform, 1) if device == CPU else 1
            alike = device, group.resources, group.rate_limiter_priority
            counts[alike] = counts.get(alike, 0) + (group.count or default)
    return tuple(
        Placement(device, count, resources, priority)
        for (device, resources, priority), count in counts.items()
    )


def _devices(group: InstanceGroup, gpus: Sequence[Device]) -> Sequence[Device]:
    if group.kind is InstanceKind.CPU:
        return (CPU,)
    if group.kind is InstanceKind.AUTO and not group.gpus:
        return tuple(gpus) or (CPU,)
    wanted = group.gpus or tuple(device.index for device in gpus)
    missing = set(wanted) - {device.index for device in gpus}
    if missing or not wanted:
        here = ", ".join(str(device) for device in gpus) or "no CUDA device"
        asked = ", ".join(f"cuda:{index}" for index in sorted(missing)) or "a GPU"
        raise DeviceMissing(f"instance_group of kind {group.kind} asks for {asked}; this machine has {here}")
    return tuple(device for device in gpus if device.index in wanted)
