"""What the GPUs of the machine say of themselves, by Triton's names.

NVIDIA's library takes milliseconds to answer, so a thread asks it now and then, and a scrape shows the last
answer. Where there is no library, no driver or no GPU there is nothing to show, and nobody is asked.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

EVERY_S = 2.0
"""As often as Triton asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU at one instant; None for what it does not say, as one that is split up says no utilization.

    utilization   share of the time in which something ran on it, 0 to 1
    energy_j      joules since its driver was loaded
    """

    uuid: str
    utilization: float | None
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    power_w: float | None
    power_limit_w: float | None
    energy_j: float | None


GAUGES: tuple[tuple[str, str, Callable[[GpuReading], float | None]], ...] = (
    ("nv_gpu_utilization", "Share of the time in which something ran, 0 to 1", lambda g: g.utilization),
    ("nv_gpu_memory_total_bytes", "Memory of the GPU, in bytes", lambda g: g.memory_total_bytes),
    ("nv_gpu_memory_used_bytes", "Memory in use on the GPU, in bytes", lambda g: g.memory_used_bytes),
    ("nv_gpu_power_usage", "Power that the GPU draws, in watts", lambda g: g.power_w),
    ("nv_gpu_power_limit", "Power that the GPU may draw, in watts", lambda g: g.power_limit_w),
)


def nvml() -> Any:
    """NVIDIA's library. Raises `ImportError` where it is not installed."""
    import pynvml  # here: an extra, and slow to import

    return pynvml


class Gpus(Collector):
    """All that the library knows of; `library` brings it."""

    def __init__(self, library: Callable[[], Any] = nvml) -> None:
        self._bring = library
        self._library: Any = None
        self._handles: list[tuple[str, Any]] = []
        self._readings: Sequence[GpuReading] = ()

    async def watch(self, closing: asyncio.Event, every_s: float = EVERY_S) -> None:
        """Ask them again and again until `closing` is set; at once back where there are none.

        A library that fails ends this, and with it these metrics, but not the server.
        """
        try:
            await asyncio.to_thread(self._open)
            while self._handles and not closing.is_set():
                self._readings = await asyncio.to_thread(self._read)
                with suppress(TimeoutError):
                    async with asyncio.timeout(every_s):
                        await closing.wait()
        except Exception:  # the library's fault
            log.exception("gpu_metrics_ended")
            self._readings = ()
        finally:
            if self._library is not None:
                self._library.nvmlShutdown()

    def collect(self) -> Iterator[Metric]:
        readings = self._readings
        for name, text, read in GAUGES if readings else ():
            gauge = GaugeMetricFamily(name, text, labels=["gpu_uuid"])
            for each in readings:
                if (value := read(each)) is not None:
                    gauge.add_metric([each.uuid], value)
            yield gauge
        if readings:
            energy = Metric("nv_energy_consumption", "Energy that the GPU has used, in joules", "counter")
            for each in readings:
                if each.energy_j is not None:
                    energy.add_sample(energy.name, {"gpu_uuid": each.uuid}, each.energy_j)
            yield energy

    def _open(self) -> None:
        try:
            library = self._bring()
        except ImportError:
            return
        try:
            library.nvmlInit()
        except library.NVMLError as error:  # no driver, so no GPU
            log.debug("no_gpu_metrics", reason=str(error))
            return
        self._library = library
        try:
            for number in range(library.nvmlDeviceGetCount()):
                handle = library.nvmlDeviceGetHandleByIndex(number)
                self._handles.append((library.nvmlDeviceGetUUID(handle), handle))
        except library.NVMLError as error:  # a GPU that has fallen off its bus hides those behind it
            log.warning("gpu_not_found", reason=str(error))

    def _read(self) -> Sequence[GpuReading]:
        return [self._reading(uuid, handle) for uuid, handle in self._handles]

    def _reading(self, uuid: str, handle: Any) -> GpuReading:
        library = self._library
        rates = self._say(library.nvmlDeviceGetUtilizationRates, handle)
        memory = self._say(library.nvmlDeviceGetMemoryInfo, handle)
        power_mw = self._say(library.nvmlDeviceGetPowerUsage, handle)
        limit_mw = self._say(library.nvmlDeviceGetEnforcedPowerLimit, handle)
        energy_mj = self._say(library.nvmlDeviceGetTotalEnergyConsumption, handle)
        return GpuReading(
            uuid=uuid,
            utilization=None if rates is None else rates.gpu / 100,
            memory_total_bytes=None if memory is None else memory.total,
            memory_used_bytes=None if memory is None else memory.used,
            power_w=None if power_mw is None else power_mw / 1e3,
            power_limit_w=None if limit_mw is None else limit_mw / 1e3,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
        )

    def _say(self, ask: Callable[[Any], Any], handle: Any) -> Any:
        """None for what this GPU does not say, or not now."""
        try:
            return ask(handle)
        except self._library.NVMLError:
            return None
