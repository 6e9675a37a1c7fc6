"""Cases of the alerts about what clients ask for, and what they get."""

from tests.deploy.pictures.alert_case import (
    LONG,
    THE_MODEL,
    THE_QUEUE,
    THE_VERSION,
    Case,
    buckets,
    of,
    process,
    requests,
)


def refused(reason: str, many: str, run: str = "0+600x60") -> dict[str, str]:
    return {
        **process(),
        of("tercet_requests_refused_total", model="m", version="1", reason=reason): many,
        of("tercet_queue_duration_seconds_count", model="m", version="1"): run,
    }


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
        "a fifth more is asked than it can do",
        {**process("pre"), of("tercet_saturation_ratio", **THE_VERSION): "1.2x60"},
        "20m",
        [{"model": "m", "tier": "pre"}],
    ),
    Case(
        "TercetSaturated",
        "the version that serves is full, and the one before it is still there",
        {
            **process(),
            of("tercet_saturation_ratio", **THE_VERSION): "1.2x60",
            of("tercet_saturation_ratio", **{**THE_VERSION, "version": "0"}): "0x60",
        },
        "20m",
        [{"model": "m", "tier": "all"}],
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
)
