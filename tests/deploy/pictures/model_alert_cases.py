"""Cases of the alerts about versions of models, and the memory that they take."""

from tests.deploy.pictures.alert_case import (
    LONG,
    THE_MODEL,
    THE_PROCESS,
    THE_VERSION,
    TROUBLE,
    Case,
    buckets,
    of,
    process,
)


def happened(event: str, values: str) -> dict[str, str]:
    return {of("tercet_model_transitions_total", model="m", event=event): values}


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


CASES = (
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
)
