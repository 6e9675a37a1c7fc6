"""Cases of the alerts about processes, those of tiers and what they run on."""

from tests.deploy.pictures.alert_case import (
    THE_PROCESS,
    Case,
    buckets,
    of,
    process,
)


def tier_of(ready: str, known: str, **labels: str) -> dict[str, str]:
    return {
        of("tercet_tier_endpoints", tier="predict", state="ready", **labels): ready,
        of("tercet_tier_endpoints", tier="predict", state="known", **labels): known,
    }


CASES = (
    Case(
        "TercetTierWithoutProcesses",
        "the last process is gone",
        tier_of("1x10 0x20", "1x30"),
        "15m",
        [{"tier": "predict"}],
    ),
    Case("TercetTierWithoutProcesses", "a new tier loads for long", tier_of("0x60", "1x60"), "25m"),
    Case(
        "TercetTierWithoutProcesses",
        "a new tier does not come at all",
        tier_of("0x60", "1x60"),
        "40m",
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
        "TercetTierProcessesMissing",
        "one after the other is replaced, and takes long to load",
        tier_of("2x90", " ".join(["3x4 4x4"] * 9)),
        "60m",
    ),
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
        "the image of a new one is being fetched",
        {**process(), of("up"): "1x60", of("up", instance="b"): "_x10 0x15 1x30"},
        "24m",
    ),
    Case(
        "TercetProcessDown",
        "a new one never comes",
        {**process(), of("up"): "1x60", of("up", instance="b"): "0x60"},
        "30m",
        [{"instance": "b"}],
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
