"""The GPUs of the machine as metrics: a stand-in for the devices, and the real library where it has none."""

import asyncio
from types import SimpleNamespace

import pynvml
import pytest

from server.observe.gpu import Gpus
from server.observe.metrics import exposition, registry
from tests.e2e.scrape import samples_in

TRITONS = {
    "nv_gpu_utilization",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_power_limit",
    "nv_energy_consumption",
}


class TwoGpus:
    """As pynvml would tell of two of them. The second is split up: it says neither utilization nor power."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.is_open = False
        self.busy_percent = 25
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def nvmlInit(self) -> None:  # noqa: N802
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=self._unless_split_up(handle, self.busy_percent))

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=80_000 + handle, used=20_000)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self._unless_split_up(handle, 300_000)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        return self._unless_split_up(handle, 700_000)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if handle == 1:  # and so everybody has been
            self._loop.call_soon_threadsafe(self.asked.set)
        return 12_345_000

    def _unless_split_up(self, handle: int, value: int) -> int:
        if handle == 1:
            raise self.NVMLError("Not Supported")
        return value


def samples(gpus: Gpus) -> dict[tuple[str, str], float]:
    text = exposition(registry([gpus])).decode()
    return {(name, labels["gpu_uuid"]): value for name, labels, value in samples_in(text)}


async def shown(gpus: Gpus, devices: TwoGpus) -> dict[tuple[str, str], float]:
    """What a whole round has found that began after this call: the first to end may have begun before."""
    for _ in range(3):  # the answers of a round are there when the next one begins
        devices.asked.clear()
        await asyncio.wait_for(devices.asked.wait(), 10)
    return samples(gpus)


async def test_what_gpus_say_is_shown_by_tritons_names_and_in_its_units():
    devices, closing = TwoGpus(), asyncio.Event()
    gpus = Gpus(lambda: devices)
    watching = asyncio.create_task(gpus.watch(closing, every_s=0.01))
    found = await shown(gpus, devices)
    devices.busy_percent = 75
    later = await shown(gpus, devices)
    closing.set()
    await asyncio.wait_for(watching, 10)
    assert {key: value for key, value in found.items() if key[1] == "GPU-0"} == {
        ("nv_gpu_utilization", "GPU-0"): 0.25,
        ("nv_gpu_memory_total_bytes", "GPU-0"): 80_000,
        ("nv_gpu_memory_used_bytes", "GPU-0"): 20_000,
        ("nv_gpu_power_usage", "GPU-0"): 300,
        ("nv_gpu_power_limit", "GPU-0"): 700,
        ("nv_energy_consumption", "GPU-0"): 12_345,
    }
    assert {name for name, _ in found} == TRITONS
    assert later["nv_gpu_utilization", "GPU-0"] == 0.75
    assert not devices.is_open


async def test_a_gpu_shows_nothing_of_what_it_does_not_say():
    devices, closing = TwoGpus(), asyncio.Event()
    gpus = Gpus(lambda: devices)
    watching = asyncio.create_task(gpus.watch(closing, every_s=0.01))
    found = await shown(gpus, devices)
    closing.set()
    await asyncio.wait_for(watching, 10)
    assert {name for name, uuid in found if uuid == "GPU-1"} == {
        "nv_gpu_memory_total_bytes",
        "nv_gpu_memory_used_bytes",
        "nv_energy_consumption",
    }


async def test_the_library_is_let_go_when_nobody_is_to_watch_any_more():
    devices = TwoGpus()
    watching = asyncio.create_task(Gpus(lambda: devices).watch(asyncio.Event()))
    await asyncio.wait_for(devices.asked.wait(), 10)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert not devices.is_open


async def test_a_library_that_fails_takes_these_metrics_with_it_and_nothing_else():
    devices = TwoGpus()
    devices.nvmlDeviceGetMemoryInfo = None
    gpus = Gpus(lambda: devices)
    await asyncio.wait_for(gpus.watch(asyncio.Event()), 10)
    assert samples(gpus) == {}
    assert not devices.is_open


async def test_without_the_library_there_is_nothing_to_show():
    def missing() -> None:
        raise ImportError

    gpus = Gpus(missing)
    await asyncio.wait_for(gpus.watch(asyncio.Event()), 10)
    assert samples(gpus) == {}


async def test_the_real_library_has_every_call_and_finds_nothing_where_there_is_no_driver():
    calls = [name for name in vars(TwoGpus) if name.startswith("nvml")]
    assert [name for name in calls if not callable(getattr(pynvml, name, None))] == []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        gpus = Gpus()
        await asyncio.wait_for(gpus.watch(asyncio.Event()), 10)
        assert samples(gpus) == {}


@pytest.mark.cuda
async def test_the_gpus_of_this_machine_show_all_that_triton_shows():
    gpus, closing = Gpus(), asyncio.Event()
    asyncio.get_running_loop().call_later(3, closing.set)
    await gpus.watch(closing, every_s=0.1)
    assert {name for name, _ in samples(gpus)} >= {"nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes"}
