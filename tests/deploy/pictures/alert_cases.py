"""When each alert fires, and when it must not: a minute of a day in the life of servers for each number.

The values are as promtool has them: `1x60` is 1 for an hour, `0+5x60` begins at 0 and grows by 5 a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LONG = 8 * 60
"""Minutes that are written down, for those series that do not change."""


@dataclass(frozen=True)
class Case:
    """`fires` has the labels of each alert beside those of the place; none of them is silence."""

    alert: str
    when: str
    series: Mapping[str, str]
    at: str
    fires: Sequence[Mapping[str, str]] = ()
    here: Mapping[str, str] = field(default_factory=lambda: {"namespace": "n", "job": "t"})


def of(metric: str, **labels: str) -> str:
    """A series of the one process that there is, unless `labels` say of which."""
    own = {"namespace": "n", "job": "t", "instance": "a", **labels}
    return selector(metric, {name: value for name, value in own.items() if value})


def selector(metric: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{metric}{{{inside}}}"


def process(tier: str = "all", version: str = "1", **labels: str) -> dict[str, str]:
    return {of("tercet_build_info", tier=tier, version=version, **labels): f"1x{LONG}"}


def requests(answered: str, failed: str, reason: str = "BACKEND") -> dict[str, str]:
    return {
        of("nv_inference_request_success", model="m", version="1"): answered,
        of("nv_inference_request_failure", model="m", version="1", reason=reason): failed,
    }


def buckets(metric: str, counts: Mapping[str, str], **labels: str) -> dict[str, str]:
    return {of(f"{metric}_bucket", le=bound, **labels): values for bound, values in counts.items()}


def refused(reason: str, many: str, run: str = "0+600x60") -> dict[str, str]:
    return {
        **process(),
        of("tercet_requests_refused_total", model="m", version="1", reason=reason): many,
        of("tercet_queue_duration_seconds_count", model="m", version="1"): run,
    }


def happened(event: str, values: str) -> dict[str, str]:
    return {of("tercet_model_transitions_total", model="m", event=event): values}


THE_MODEL = {"model": "m"}
THE_VERSION = {"model": "m", "version": "1"}
THE_QUEUE = {"model": "m", "tier": "all"}
THE_PROCESS = {"instance": "a"}
TROUBLE = of("tercet_model_version_unavailable", model="m", version="1")

TARGET = {of("tercet_latency_target_seconds", model="m"): f"0.05x{LONG}"}
FAST = buckets(
    "tercet_request_duration_seconds",
    {"0.025": "0+600x60", "0.1": "0+600x60", "+Inf": "0+600x60"},
    **THE_VERSION,
)
SLOW = buckets(
    "tercet_request_duration_seconds",
    {"0.025": "0+540x60", "0.1": "0+540x60", "0.25": "0+600x60", "+Inf": "0+600x60"},
    **THE_VERSION,
)


def stays(short: str, all_: str) -> dict[str, str]:
    counts = {"5.0": short, "60.0": short, "300.0": all_, "+Inf": all_}
    return {
        **buckets("tercet_residency_age_seconds", counts),
        of("tercet_residency_age_seconds_count"): all_,
    }


NOW_AND_THEN = " ".join(f"{count}x4" for count in range(12))
"""Once in five minutes."""


def budget(counted: str) -> dict[str, str]:
    return {
        of("tercet_memory_counted_bytes", device="cpu"): counted,
        of("tercet_memory_budget_bytes", device="cpu"): f"100x{LONG}",
    }


def tier_of(ready: str, known: str, **labels: str) -> dict[str, str]:
    return {
        of("tercet_tier_endpoints", tier="predict", state="ready", **labels): ready,
        of("tercet_tier_endpoints", tier="predict", state="known", **labels): known,
    }


CASES = (
    Case(
        "TercetErrorBudgetBurnsFast",
        "5 of 100 requests fail for an hour",
        {**process(), **requests("0+570x120", "0+30x120")},
        "90m",
        [THE_MODEL],
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "requests fail in what clients ask, and were counted behind it, too",
        {**process("gateway"), **requests("0+570x120", "0+30x120"), **process("predict", instance="b")},
        "90m",
        [THE_MODEL],
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "what fails is only behind what clients ask",
        {**process("predict"), **requests("0+570x120", "0+30x120")},
        "90m",
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "callers leave",
        {**process(), **requests("0+570x120", "0+30x120", "CANCELED")},
        "90m",
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "it is over",
        {**process(), **requests("0+570x120", "0+30x60 1800x60")},
        "100m",
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "one of ten requests of a quiet night fails",
        {**process(), **requests("0x60 10x60", "0x60 1x60")},
        "64m",
    ),
    Case(
        "TercetErrorBudgetBurnsSlowly",
        "1 of 100 requests fails for hours",
        {**process(), **requests("0+594x480", "0+6x480")},
        "7h",
        [THE_MODEL],
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "it is nearly over",
        {**process(), **requests("0+570x120", "0+30x60 1803+3x60")},
        "75m",
    ),
    Case(
        "TercetErrorBudgetBurnsFast",
        "what failed behind was answered after all",
        {
            **process("gateway"),
            **requests("0+600x120", "0x120"),
            **process("predict", instance="b"),
            of("nv_inference_request_failure", instance="b", reason="BACKEND", **THE_VERSION): "0+30x120",
        },
        "90m",
    ),
    Case(
        "TercetErrorBudgetBurnsSlowly",
        "it is over",
        {**process(), **requests("0+588x480", "0+12x300 3600x180")},
        "6h",
    ),
    Case(
        "TercetErrorBudgetBurnsSlowly",
        "1 of 1,000 requests fails",
        {**process(), **requests("0+999x480", "0+1x480")},
        "7h",
    ),
    Case(
        "TercetLatencyTargetMissed",
        "a tenth takes longer than the target",
        {**process(), **TARGET, **SLOW},
        "30m",
        [THE_MODEL],
    ),
    Case("TercetLatencyTargetMissed", "all are answered in time", {**process(), **TARGET, **FAST}, "30m"),
    Case("TercetLatencyTargetMissed", "there is no target", {**process(), **SLOW}, "30m"),
    Case("TercetQueueFull", "a tenth is turned away", refused("requests", "0+67x60"), "20m", [THE_QUEUE]),
    Case("TercetQueueFull", "all are turned away", refused("bytes", "0+67x60", "0x60"), "20m", [THE_QUEUE]),
    Case("TercetQueueFull", "one in 600 is turned away", refused("requests", "0+1x60"), "20m"),
    Case("TercetQueueFull", "requests are late instead", refused("late", "0+67x60"), "20m"),
    Case("TercetRequestsTooLate", "a tenth is too late", refused("expired", "0+67x60"), "20m", [THE_QUEUE]),
    Case("TercetRequestsTooLate", "one in 600 is too late", refused("late", "0+1x60"), "20m"),
    Case("TercetRequestsTooLate", "the queue is full instead", refused("requests", "0+67x60"), "20m"),
    Case(
        "TercetSaturated",
        "requests wait as long as they may",
        {**process("pre"), of("tercet_saturation_ratio", **THE_VERSION): "1.2x60"},
        "20m",
        [{"model": "m", "tier": "pre"}],
    ),
    Case(
        "TercetSaturated",
        "one process of two is full, and the other idle",
        {
            **process(),
            **process(instance="b"),
            of("tercet_saturation_ratio", **THE_VERSION): "1x60",
            of("tercet_saturation_ratio", instance="b", **THE_VERSION): "0x60",
        },
        "20m",
    ),
    Case(
        "TercetModelUnavailable",
        "a version is in trouble",
        {**process("predict"), TROUBLE: "1x60"},
        "10m",
        [THE_VERSION],
    ),
    Case("TercetModelUnavailable", "it is repaired at once", {**process(), TROUBLE: "1x3 stale"}, "10m"),
    Case(
        "TercetVersionInNoTier",
        "a gateway has nobody for a version",
        {**process("gateway"), TROUBLE: "1x60"},
        "5m",
        [THE_VERSION],
    ),
    Case(
        "TercetVersionInNoTier",
        "one process of a tier could not load it",
        {**process("predict"), TROUBLE: "1x60"},
        "5m",
    ),
    Case(
        "TercetLoadHangs",
        "a version has been loading for an hour",
        {of("tercet_model_versions", state="LOADING"): "1x90"},
        "60m",
        [THE_PROCESS],
    ),
    Case(
        "TercetLoadHangs",
        "a version is ready",
        {
            of("tercet_model_versions", state="LOADING"): "1x20 0x60",
            of("tercet_model_versions", state="READY"): "1x90",
        },
        "60m",
    ),
    Case(
        "TercetModelRolledBack",
        "a version was taken back",
        happened("rolled_back", "0x10 1x60"),
        "20m",
        [THE_MODEL],
    ),
    Case("TercetModelRolledBack", "that was long ago", happened("rolled_back", "0x10 1x120"), "90m"),
    Case(
        "TercetModelRejected",
        "a version failed its trial",
        happened("rejected", "0x10 1x60"),
        "20m",
        [THE_MODEL],
    ),
    Case("TercetModelRejected", "a version was loaded", happened("ready", "0x10 1x60"), "20m"),
    Case(
        "TercetModelQuarantined",
        "a process was given up",
        happened("quarantined", "0x10 1x60"),
        "20m",
        [THE_MODEL],
    ),
    Case("TercetModelQuarantined", "a process came back", happened("worker_back", "0x10 1x60"), "20m"),
    Case(
        "TercetRuntimeWorkerEnds",
        "a process ends every three minutes",
        {of("tercet_runtime_worker_restarts_total", **THE_VERSION): "0 0 0 1 1 1 2 2 2 3 3 3 4 4 4 5 5 5"},
        "16m",
        [THE_VERSION],
    ),
    Case(
        "TercetRuntimeWorkerEnds",
        "a process has ended once",
        {of("tercet_runtime_worker_restarts_total", **THE_VERSION): "0x5 1x20"},
        "16m",
    ),
    Case(
        "TercetMemoryNearlyFull",
        "nearly all is in use",
        budget("97x90"),
        "60m",
        [{"instance": "a", "device": "cpu"}],
    ),
    Case(
        "TercetMemoryNearlyFull",
        "models come and go",
        {**budget("97x90"), of("tercet_residency_age_seconds_count"): "0+1x90"},
        "60m",
    ),
    Case("TercetMemoryNearlyFull", "there is room", budget("90x90"), "60m"),
    Case(
        "TercetMemoryOverBudget",
        "more is taken than there is",
        {of("tercet_memory_free_bytes", device="cpu"): "-5x30"},
        "20m",
        [{"instance": "a", "device": "cpu"}],
    ),
    Case(
        "TercetMemoryOverBudget",
        "all is taken, and no more",
        {of("tercet_memory_free_bytes", device="cpu"): "0x30"},
        "20m",
    ),
    Case("TercetThrash", "models stay for seconds", stays("0+9x60", "0+10x60"), "45m", [THE_PROCESS]),
    Case("TercetThrash", "models stay for minutes", stays("0+1x60", "0+10x60"), "45m"),
    Case("TercetThrash", "a model leaves now and then", stays(NOW_AND_THEN, NOW_AND_THEN), "45m"),
    Case(
        "TercetColdRequestsWait",
        "loads take half a minute",
        buckets("tercet_cold_wait_seconds", {"10.0": "0x60", "30.0": "0+5x60", "+Inf": "0+5x60"}),
        "45m",
        [THE_PROCESS],
    ),
    Case(
        "TercetColdRequestsWait",
        "loads take a second",
        buckets("tercet_cold_wait_seconds", {"1.0": "0+5x60", "10.0": "0+5x60", "+Inf": "0+5x60"}),
        "45m",
    ),
    Case(
        "TercetTierWithoutProcesses",
        "the last process is gone",
        tier_of("1x10 0x20", "1x30"),
        "15m",
        [{"tier": "predict"}],
    ),
    Case(
        "TercetTierWithoutProcesses",
        "only one gateway sees nobody",
        {**tier_of("0x30", "1x30"), **tier_of("1x30", "1x30", instance="b")},
        "15m",
    ),
    Case(
        "TercetTierProcessesMissing",
        "one of three is out of sight",
        tier_of("2x60", "3x60"),
        "20m",
        [{"tier": "predict"}],
    ),
    Case("TercetTierProcessesMissing", "one of three is replaced", tier_of("3x5 2x3 3x60", "3x60"), "9m"),
    Case(
        "TercetProcessesLeftAlone",
        "a process does not answer",
        {of("tercet_hop_ejections_total", tier="post", endpoint="b:1"): "0+1x60"},
        "20m",
        [{"tier": "post"}],
    ),
    Case(
        "TercetProcessesLeftAlone",
        "a process did not answer once",
        {of("tercet_hop_ejections_total", tier="post", endpoint="b:1"): "0x10 1x60"},
        "20m",
    ),
    Case(
        "TercetHopRetries",
        "a tenth is sent once more",
        {
            of("tercet_hop_retries_total"): "0+6x60",
            of("tercet_hop_requests_total", tier="pre", endpoint="b:1"): "0+60x60",
        },
        "20m",
        [{}],
    ),
    Case(
        "TercetHopRetries",
        "one process was replaced",
        {
            of("tercet_hop_retries_total"): "0x10 6x60",
            of("tercet_hop_requests_total", tier="pre", endpoint="b:1"): "0+60x60",
        },
        "30m",
    ),
    Case(
        "TercetRepositoryUnreachable",
        "a bucket does not answer",
        {of("tercet_repository_reachable", repository="s3://b"): "0x60"},
        "20m",
        [{"repository": "s3://b"}],
    ),
    Case(
        "TercetRepositoryUnreachable",
        "a bucket answers again",
        {of("tercet_repository_reachable", repository="s3://b"): "0x10 1x60"},
        "20m",
    ),
    Case(
        "TercetFetchFails",
        "a version does not come",
        {of("tercet_repository_fetch_failures_total", repository="s3://b"): "0+1x120"},
        "90m",
        [{"repository": "s3://b"}],
    ),
    Case(
        "TercetFetchFails",
        "it came the second time",
        {of("tercet_repository_fetch_failures_total", repository="s3://b"): "0x5 1x120"},
        "20m",
    ),
    Case(
        "TercetProcessDown",
        "a process is gone",
        {of("tercet_build_info", tier="all", version="1"): "1x10 stale", of("up"): "1x10 0x30"},
        "20m",
        [THE_PROCESS],
    ),
    Case(
        "TercetProcessDown",
        "somebody else's process is gone",
        {**process(), of("up", job="other", instance="o"): "0x30"},
        "20m",
    ),
    Case(
        "TercetProcessRestarts",
        "a process starts every five minutes",
        {**process(), of("process_start_time_seconds"): "0x4 300x4 600x4 900x4 1200x4 1500x4"},
        "26m",
        [THE_PROCESS],
    ),
    Case(
        "TercetProcessRestarts",
        "somebody else's process does",
        {of("process_start_time_seconds"): "0x4 300x4 600x4 900x4 1200x4 1500x4"},
        "26m",
    ),
    Case(
        "TercetProcessRestarts",
        "a process was replaced",
        {**process(), of("process_start_time_seconds"): "0x9 600x30"},
        "26m",
    ),
    Case(
        "TercetFleetProcessRestarts",
        "a process of a fleet crashes",
        {of("tercet_process_restarts_total", role="all", process="0"): "0+1x60"},
        "20m",
        [{**THE_PROCESS, "role": "all", "process": "0"}],
    ),
    Case(
        "TercetFleetProcessRestarts",
        "it has crashed once",
        {of("tercet_process_restarts_total", role="all", process="0"): "0x5 1x60"},
        "20m",
    ),
    Case(
        "TercetEventLoopLate",
        "one in fifty is half a second late",
        buckets(
            "tercet_event_loop_delay_seconds",
            {"0.01": "0+235x60", "0.25": "0+235x60", "0.5": "0+240x60", "+Inf": "0+240x60"},
        ),
        "20m",
        [THE_PROCESS],
    ),
    Case(
        "TercetEventLoopLate",
        "nobody is late",
        buckets(
            "tercet_event_loop_delay_seconds", {"0.01": "0+240x60", "0.25": "0+240x60", "+Inf": "0+240x60"}
        ),
        "20m",
    ),
    Case(
        "TercetFilesNearlyExhausted",
        "nine tenths are in use",
        {**process(), of("process_open_fds"): "900x30", of("process_max_fds"): "1000x30"},
        "20m",
        [THE_PROCESS],
    ),
    Case(
        "TercetFilesNearlyExhausted",
        "half of them are in use",
        {**process(), of("process_open_fds"): "500x30", of("process_max_fds"): "1000x30"},
        "20m",
    ),
    Case(
        "TercetAccessLinesLost",
        "lines are lost all the time",
        {of("tercet_access_lines_dropped_total"): "0+9x60"},
        "40m",
        [THE_PROCESS],
    ),
    Case("TercetAccessLinesLost", "none is lost", {of("tercet_access_lines_dropped_total"): "9x60"}, "40m"),
    Case(
        "TercetProgramsMixed",
        "a rollout stopped half-way",
        {**process(), **process(version="2", instance="b")},
        "90m",
        [{"tier": "all"}],
    ),
    Case(
        "TercetProgramsMixed",
        "a rollout is under way",
        {**process(), **process(version="2", instance="b")},
        "40m",
    ),
    Case(
        "TercetProgramsMixed",
        "another tier is older",
        {**process(), **process("pre", version="2", instance="b")},
        "90m",
    ),
    Case(
        "TercetGpuMemoryNearlyFull",
        "nearly all is in use",
        {
            of("nv_gpu_memory_used_bytes", gpu_uuid="g"): "97x60",
            of("nv_gpu_memory_total_bytes", gpu_uuid="g"): "100x60",
        },
        "30m",
        [{**THE_PROCESS, "gpu_uuid": "g"}],
    ),
    Case(
        "TercetGpuMemoryNearlyFull",
        "half of it is in use",
        {
            of("nv_gpu_memory_used_bytes", gpu_uuid="g"): "50x60",
            of("nv_gpu_memory_total_bytes", gpu_uuid="g"): "100x60",
        },
        "30m",
    ),
)
