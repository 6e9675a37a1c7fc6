"""Every metric that Tercet shows, made from the tallies when somebody scrapes.

Names, labels and units of the `nv_` families are Triton's. The histograms are ours, under `tercet_`:
they can be added up over processes, and a quantile read off them. Nothing is registered, and no
request does anything, for the sake of metrics: a tally is plain numbers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from time import monotonic_ns

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from server.observe.demand import saturations
from server.observe.histogram import Histogram
from server.observe.passages import Passage
from server.observe.residency import ResidencyTally
from server.observe.tally import Fill, Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Measured:
    """One version that serves, as far as metrics care. `tags` become labels, `_` before each name."""

    model: str
    version: str
    tags: Mapping[str, str]
    tally: Tally


_COUNTERS: tuple[tuple[str, str, Callable[[Tally], float]], ...] = (
    ("nv_inference_request_success", "Requests answered", lambda t: t.success.count),
    ("nv_inference_count", "Rows inferred, cached ones not counted", lambda t: t.inference_count),
    ("nv_inference_exec_count", "Runs of the model", lambda t: t.execution_count),
    (
        "nv_inference_request_duration_us",
        "Time of all requests together, in microseconds",
        lambda t: (t.success.ns + t.fail.ns) // 1000,
    ),
    (
        "nv_inference_queue_duration_us",
        "Time that requests waited, in microseconds",
        lambda t: t.queue.ns // 1000,
    ),
    (
        "nv_inference_compute_input_duration_us",
        "Time spent on gathering inputs, in microseconds",
        lambda t: t.compute_input.ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Time spent in the model, in microseconds",
        lambda t: t.compute_infer.ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Time spent on dealing out outputs, in microseconds",
        lambda t: t.compute_output.ns // 1000,
    ),
)

_REASONS: tuple[tuple[str, str, Callable[[Tally], Mapping[str, int]]], ...] = (
    ("tercet_batches", "Runs, by why their batch left when it did", lambda t: t.left),
    ("tercet_small_batches", "Runs that were not full, by why not", lambda t: t.small),
    ("tercet_requests_refused", "Requests that were not run, by why", lambda t: t.refused),
)

_GAUGES: tuple[tuple[str, str, Callable[[Tally], float]], ...] = (
    ("nv_inference_pending_request_count", "Requests accepted and not yet running", lambda t: t.pending),
    (
        "tercet_queue_wait_ratio",
        "Time that requests wait in the queue, over the time that they may",
        lambda t: t.pressure.read(monotonic_ns()),
    ),
    ("nv_model_load_duration_secs", "Time the version took to load, in seconds", lambda t: t.load_seconds),
)

_FILLS: tuple[tuple[str, str, Callable[[Fill], int]], ...] = (
    ("tercet_padding_elements_total", "Elements of inputs that padding added", lambda f: f.added),
    ("tercet_padded_real_elements_total", "Elements of inputs that padding was added to", lambda f: f.real),
)
"""Of the length of requests, or of the rows of runs: the label `padded` says which."""

_HISTOGRAMS: tuple[tuple[str, str, Callable[[Tally], Histogram]], ...] = (
    ("tercet_request_duration_seconds", "From a request's arrival to its answer", lambda t: t.request_s),
    ("tercet_queue_duration_seconds", "From joining the queue to the start of the run", lambda t: t.queue_s),
    ("tercet_compute_duration_seconds", "In the model, as each request saw it", lambda t: t.compute_s),
    ("tercet_batch_rows", "Rows in one run", lambda t: t.rows),
    (
        "tercet_prediction_ratio",
        "Time that a run took, over the time that it was expected to take",
        lambda t: t.prediction,
    ),
)


class TallyCollector(Collector):
    """Reads the tallies of the versions that serve at the moment of the scrape."""

    def __init__(self, measured: Callable[[], Sequence[Measured]]) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        versions = self._measured()
        labels = [labels_of(version) for version in versions]
        for name, text, read in _COUNTERS:
            metric = Metric(name, text, "counter")
            for own, version in zip(labels, versions, strict=True):
                metric.add_sample(name, own, read(version.tally))
            yield metric
        failures = Metric("nv_inference_request_failure", "Requests that failed, by reason", "counter")
        for own, version in zip(labels, versions, strict=True):
            for reason, count in version.tally.failures.items():
                failures.add_sample(failures.name, {**own, "reason": reason}, count)
        yield failures
        restarts = Metric(
            "tercet_runtime_worker_restarts", "Starts of a model's own process after it had ended", "counter"
        )
        for own, version in zip(labels, versions, strict=True):
            restarts.add_sample(f"{restarts.name}_total", own, version.tally.restarts)
        yield restarts
        for name, text, reasons in _REASONS:
            metric = Metric(name, text, "counter")
            for own, version in zip(labels, versions, strict=True):
                for reason, count in reasons(version.tally).items():
                    metric.add_sample(f"{name}_total", {**own, "reason": reason}, count)
            yield metric
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text)
            for own, version in zip(labels, versions, strict=True):
                gauge.add_sample(name, own, read(version.tally))
            yield gauge
        gauge = GaugeMetricFamily(
            "tercet_saturation_ratio",
            "Demand over capacity of what a version runs on: to scale by; 1 is full, 2 is twice that",
        )
        full = saturations([version.tally.measure for version in versions], monotonic_ns())
        for own, ratio in zip(labels, full, strict=True):
            gauge.add_sample(gauge.name, own, ratio)
        yield gauge
        for name, text, count_of in _FILLS:
            filled = Metric(name.removesuffix("_total"), text, "counter")
            for own, version in zip(labels, versions, strict=True):
                for padded, fill in version.tally.fills.items():
                    filled.add_sample(name, {**own, "padded": padded}, count_of(fill))
            yield filled
        for name, text, pick in _HISTOGRAMS:
            yield histogram_of(
                name, text, ((own, pick(v.tally)) for own, v in zip(labels, versions, strict=True))
            )
        yield histogram_of(
            "tercet_stage_duration_seconds",
            "In pre- or post-processing code or a step of an ensemble, with all waits",
            (
                ({**own, "stage": stage}, histogram)
                for own, version in zip(labels, versions, strict=True)
                for stage, histogram in version.tally.stage_s.items()
            ),
        )


class ProcessCollector(Collector):
    """What the server reports of itself."""

    def __init__(self, dropped_lines: Callable[[], int]) -> None:
        self._dropped_lines = dropped_lines

    def collect(self) -> Iterator[Metric]:
        dropped = Metric(
            "tercet_access_lines_dropped", "Access lines lost because the log could not keep up", "counter"
        )
        dropped.add_sample("tercet_access_lines_dropped_total", {}, self._dropped_lines())
        yield dropped


@dataclass(frozen=True, slots=True)
class MirrorMeasured:
    """One remote repository, as far as metrics care. `polled_s` is 0 before it has answered."""

    repository: str
    polled_s: float
    is_reachable: bool
    fetched_bytes: int
    fetch_s: float
    failures: int


_MIRROR_GAUGES: tuple[tuple[str, str, Callable[[MirrorMeasured], float]], ...] = (
    (
        "tercet_repository_last_poll_timestamp_seconds",
        "When a remote repository last answered, in seconds since the epoch",
        lambda m: m.polled_s,
    ),
    ("tercet_repository_reachable", "Whether it answered when last asked, 1 or 0", lambda m: m.is_reachable),
)
_MIRROR_COUNTERS: tuple[tuple[str, str, Callable[[MirrorMeasured], float]], ...] = (
    (
        "tercet_repository_fetched_bytes",
        "Bytes that came from a remote repository",
        lambda m: m.fetched_bytes,
    ),
    (
        "tercet_repository_fetch_seconds",
        "Time spent on bringing models of it, in seconds",
        lambda m: m.fetch_s,
    ),
    (
        "tercet_repository_fetch_failures",
        "Models and versions that could not be fetched",
        lambda m: m.failures,
    ),
)


class MirrorCollector(Collector):
    """The remote repositories."""

    def __init__(self, measured: Callable[[], Sequence[MirrorMeasured]]) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        mirrors = self._measured()
        for name, text, read in _MIRROR_GAUGES if mirrors else ():
            gauge = GaugeMetricFamily(name, text, labels=["repository"])
            for each in mirrors:
                gauge.add_metric([each.repository], read(each))
            yield gauge
        for name, text, read in _MIRROR_COUNTERS if mirrors else ():
            counter = Metric(name, text, "counter")
            for each in mirrors:
                counter.add_sample(f"{name}_total", {"repository": each.repository}, read(each))
            yield counter


_PASSAGE_HISTOGRAMS: tuple[tuple[str, str, Callable[[Passage], Histogram]], ...] = (
    ("tercet_model_load_seconds", "From opening a version's files to its being ready", lambda p: p.load_s),
    ("tercet_model_warmup_seconds", "The part of a load in which a version was run", lambda p: p.warmup_s),
)


_TROUBLE = dict.fromkeys(("rejected", "rolled_back", "quarantined", "worker_lost"), 0)
"""What alerts look for is there from the start: the first of a kind is no increase of what was not there."""


class PassageCollector(Collector):
    """How models came and went. Of a repository of thousands, those that something has happened to."""

    def __init__(self, passages: Callable[[], Mapping[str, Passage]]) -> None:
        self._passages = passages

    def collect(self) -> Iterator[Metric]:
        passages = self._passages()
        name = "tercet_model_transitions"
        transitions = Metric(name, "What happened to versions of a model", "counter")
        for model, passage in passages.items():
            for what, count in (_TROUBLE | passage.transitions).items():
                transitions.add_sample(f"{name}_total", {"model": model, "event": what}, count)
        yield transitions
        for name, text, read in _PASSAGE_HISTOGRAMS:
            loaded = ((model, read(passage)) for model, passage in passages.items())
            yield histogram_of(
                name, text, [({"model": model}, took) for model, took in loaded if any(took.counts)]
            )


class ResidencyCollector(Collector):
    """Who has come into memory when it was asked for, and who has left it."""

    def __init__(self, tally: ResidencyTally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        tally = self._tally
        cold = Metric("tercet_cold_requests", "Requests that found their version not in memory", "counter")
        for (model, version), count in tally.cold.items():
            cold.add_sample("tercet_cold_requests_total", {"model": model, "version": version}, count)
        yield cold
        evictions = Metric("tercet_evictions", "Versions that had to leave memory, by why", "counter")
        for (model, version, reason), count in tally.evictions.items():
            labels = {"model": model, "version": version, "reason": reason}
            evictions.add_sample("tercet_evictions_total", labels, count)
        yield evictions
        yield histogram_of(
            "tercet_cold_wait_seconds",
            "How long a request waited for its version to be loaded",
            [({}, tally.wait_s)],
        )
        yield histogram_of(
            "tercet_residency_age_seconds", "How long what left had been in memory", [({}, tally.stay_s)]
        )


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """One device that models take memory of, as far as metrics care.

    budget_bytes    None where there is no budget
    counted_bytes   reserved, taken and being given back, together; `leaving_bytes` the last of these
    """

    device: str
    budget_bytes: int | None
    counted_bytes: int
    leaving_bytes: int


@dataclass(frozen=True, slots=True)
class VersionMemory:
    """What is counted for one version in memory on one device.

    estimate_ratio   what was reserved before the load over what was seen then; None where nobody saw
    """

    model: str
    version: int
    device: str
    bytes: int
    estimate_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryPicture:
    """All memory at one instant.

    lru_age_s   since the last use of what was used longest ago of all that is in memory; None if nothing was
    """

    devices: Sequence[DeviceMemory]
    versions: Sequence[VersionMemory]
    lru_age_s: float | None = None


_DEVICE_GAUGES: tuple[tuple[str, str, Callable[[DeviceMemory], float | None]], ...] = (
    ("tercet_memory_budget_bytes", "Memory that models may take of a device", lambda d: d.budget_bytes),
    (
        "tercet_memory_counted_bytes",
        "Memory of a device that is reserved, taken, or not given back yet",
        lambda d: d.counted_bytes,
    ),
    (
        "tercet_memory_leaving_bytes",
        "The part of it that versions which left are giving back",
        lambda d: d.leaving_bytes,
    ),
    (
        "tercet_memory_free_bytes",
        "What is left of the budget; below 0 where measuring found more than was reserved",
        lambda d: None if d.budget_bytes is None else d.budget_bytes - d.counted_bytes,
    ),
)
_VERSION_GAUGES: tuple[tuple[str, str, Callable[[VersionMemory], float | None]], ...] = (
    ("tercet_model_memory_bytes", "Memory counted for a version on a device", lambda v: v.bytes),
    (
        "tercet_model_memory_estimate_ratio",
        "Memory that was reserved for a version over what its load was seen to take: 1 is a perfect estimate",
        lambda v: v.estimate_ratio,
    ),
)


class MemoryCollector(Collector):
    """The memory of all devices, and whose it is."""

    def __init__(self, picture: Callable[[], MemoryPicture]) -> None:
        self._picture = picture

    def collect(self) -> Iterator[Metric]:
        picture = self._picture()
        for name, text, read in _DEVICE_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["device"])
            for each in picture.devices:
                if (value := read(each)) is not None:
                    gauge.add_metric([each.device], value)
            yield gauge
        for name, text, read_of in _VERSION_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["model", "version", "device"])
            for one in picture.versions:
                if (value := read_of(one)) is not None:
                    gauge.add_metric([one.model, str(one.version), one.device], value)
            yield gauge
        age = GaugeMetricFamily(
            "tercet_memory_lru_age_seconds",
            "Since the last request for what was asked for longest ago of all that is in memory",
            labels=[],
        )
        if picture.lru_age_s is not None:
            age.add_metric([], picture.lru_age_s)
        yield age


class MachineCollector(Collector):
    """The machine's processors and memory, by Triton's names."""

    def __init__(self) -> None:
        self._processors = _processor_ticks()

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "nv_cpu_utilization",
            "Share of the machine's processors in use since the last scrape, 0 to 1",
            self._utilization(),
        )
        total, available = _memory()
        yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "Memory of the machine, in bytes", total)
        yield GaugeMetricFamily(
            "nv_cpu_memory_used_bytes", "Memory in use on the machine, in bytes", total - available
        )

    def _utilization(self) -> float:
        busy_before, all_before = self._processors
        self._processors = busy, all_ = _processor_ticks()
        return (busy - busy_before) / (all_ - all_before) if all_ > all_before else 0.0


def registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """A registry of our own with these collectors: nothing global, so two servers can share a process."""
    made = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        made.register(collector)
    return made


_SUFFIXED = re.compile(rb"^(# (?:HELP|TYPE) nv_\w+?)_total ", re.MULTILINE)


def exposition(metrics: CollectorRegistry) -> bytes:
    """The Prometheus text. The library ends every counter's name in `_total`; Triton's have none."""
    return _SUFFIXED.sub(rb"\1 ", generate_latest(metrics))


def labels_of(version: Measured) -> dict[str, str]:
    tags = {f"_{key}": value for key, value in version.tags.items()}
    return {"model": version.model, "version": version.version, **tags}


def histogram_of(name: str, text: str, rows: Iterable[tuple[dict[str, str], Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, text)
    for labels, histogram in rows:
        cumulated = list(accumulate(histogram.counts))
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), cumulated, strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{name}_count", labels, cumulated[-1])
        family.add_sample(f"{name}_sum", labels, histogram.total)
    return family


def _processor_ticks() -> tuple[int, int]:
    """Busy and all clock ticks of all processors together, from /proc/stat; zeros where there is none."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            ticks = [int(word) for word in lines.readline().split()[1:9]]
    except OSError:
        return 0, 0
    idle = ticks[3] + ticks[4]  # waiting for a disk is idle, too
    return sum(ticks) - idle, sum(ticks)


def _memory() -> tuple[int, int]:
    """Total and available bytes, from /proc/meminfo; zeros where there is none."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            facts = {key: int(rest.split()[0]) * 1024 for key, _, rest in (x.partition(":") for x in lines)}
    except OSError:
        return 0, 0
    return facts.get("MemTotal", 0), facts.get("MemAvailable", 0)
