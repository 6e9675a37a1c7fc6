"""Processes, machines and GPUs: whether there is anything left to serve with."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import in_their_tier, of, quantile, rate, share

A_GPU = "a GPU"
BY_GPU = "{{instance}} {{gpu_uuid}}"


def each(series: str) -> Query:
    """By process, with its tier."""
    return Query(f"max by (tier, instance) ({in_their_tier(series)})", "{{tier}} {{instance}}")


def gpu(metric: str) -> str:
    return f"max by (instance, gpu_uuid) ({of(metric)})"


PROCESSES = Row(
    "Processes",
    [
        Panel(
            title="Processors in use",
            about="By process: 1 is one processor. A gateway near 1 is full, whatever the queues say.",
            unit="none",
            queries=[each(rate(of("process_cpu_seconds_total")))],
        ),
        Panel(
            title="Memory of the process",
            about="Resident. What models' own processes take is not in it.",
            unit="bytes",
            queries=[each(of("process_resident_memory_bytes"))],
        ),
        Panel(
            title="How late the event loop is",
            about="99th percentile. Every request goes over it: what holds it up is in all latencies.",
            unit="s",
            warn=0.05,
            alarm=0.25,
            queries=[
                Query(
                    quantile(
                        0.99,
                        in_their_tier(rate(of("tercet_event_loop_delay_seconds_bucket"))),
                        "tier",
                        "instance",
                    ),
                    "{{tier}} {{instance}}",
                )
            ],
        ),
        Panel(
            title="Open files and connections",
            about="Of those that the process may have.",
            unit="percentunit",
            queries=[each(f"{of('process_open_fds')} / {of('process_max_fds')}")],
        ),
        Panel(
            title="Time since the start",
            about="A line that falls to 0 is a restart.",
            unit="s",
            queries=[each(f"(time() - {of('process_start_time_seconds')})")],
        ),
        Panel(
            title="Programs",
            about="Processes by tier and version of Tercet. Two versions are a rollout.",
            unit="none",
            queries=[Query(f"count by (tier, version) ({of('tercet_build_info')})", "{{tier}} {{version}}")],
        ),
        Panel(
            title="Lost access lines",
            about="In a second: the log could not keep up, and requests were not slowed for it.",
            unit="ops",
            width=24,
            queries=[each(rate(of("tercet_access_lines_dropped_total")))],
        ),
    ],
)

MACHINES = Row(
    "Machines",
    [
        Panel(
            title="Processors of the machine in use",
            about="Of all that run on it. Processes on one machine all say the same.",
            unit="percentunit",
            width=12,
            alarm=0.95,
            queries=[Query(f"max by (instance) ({of('nv_cpu_utilization')})", "{{instance}}")],
        ),
        Panel(
            title="Memory of the machine in use",
            about="Of all that run on it.",
            unit="percentunit",
            width=12,
            alarm=0.95,
            queries=[
                Query(
                    share(
                        f"max by (instance) ({of('nv_cpu_memory_used_bytes')})",
                        f"max by (instance) ({of('nv_cpu_memory_total_bytes')})",
                    ),
                    "{{instance}}",
                )
            ],
        ),
    ],
)

GPUS = Row(
    "GPUs",
    [
        Panel(
            title="Busy",
            about=(
                "Share of the time in which something ran on it. Low under load: batches are small or come "
                "late."
            ),
            unit="percentunit",
            queries=[Query(gpu("nv_gpu_utilization"), BY_GPU, A_GPU)],
        ),
        Panel(
            title="Memory in use",
            about="Of all that run on it, what other programs take among it.",
            unit="percentunit",
            alarm=0.95,
            queries=[
                Query(share(gpu("nv_gpu_memory_used_bytes"), gpu("nv_gpu_memory_total_bytes")), BY_GPU, A_GPU)
            ],
        ),
        Panel(
            title="Power",
            about="Of what it may draw. At the limit it slows down.",
            unit="percentunit",
            queries=[Query(share(gpu("nv_gpu_power_usage"), gpu("nv_gpu_power_limit")), BY_GPU, A_GPU)],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-machine",
    title="Processes, machines and GPUs",
    about="Whether there is anything left to serve with.",
    rows=[PROCESSES, MACHINES, GPUS],
    by_model=False,
)
