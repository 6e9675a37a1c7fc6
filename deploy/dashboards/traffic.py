"""What clients ask, what they get, and how long it takes: the dashboard to look at first."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import (
    at_the_door,
    mean,
    model,
    of,
    quantile,
    rate,
    share,
    total,
    where_it_runs,
)

ANSWERED = rate(model("nv_inference_request_success"))
FAILED = rate(model("nv_inference_request_failure"))
OUR_FAILURES = rate(model("nv_inference_request_failure", 'reason=~"BACKEND|OTHER"'))
DURATIONS = at_the_door(rate(model("tercet_request_duration_seconds_bucket")))

NOW = Row(
    "Now",
    [
        Panel(
            title="Answered",
            about="Requests that clients got an answer to, in a second.",
            unit="reqps",
            kind="stat",
            width=4,
            queries=[Query(total(at_the_door(ANSWERED)))],
        ),
        Panel(
            title="Failed by us",
            about="Of the requests that got to a model, those that failed through no fault of the caller.",
            unit="percentunit",
            kind="stat",
            width=4,
            warn=0.001,
            alarm=0.01,
            queries=[
                Query(
                    share(
                        total(at_the_door(OUR_FAILURES)),
                        f"({total(at_the_door(ANSWERED))} + {total(at_the_door(FAILED))})",
                    )
                )
            ],
        ),
        Panel(
            title="99th percentile",
            about="99 of 100 requests took at most so long, from arrival to answer.",
            unit="s",
            kind="stat",
            width=4,
            queries=[Query(quantile(0.99, DURATIONS))],
        ),
        Panel(
            title="Most pressed queue",
            about=(
                "The highest saturation of any model in any process: what is asked over what can be done. "
                "1 is full, 2 is twice what can be done."
            ),
            unit="percentunit",
            kind="stat",
            width=4,
            warn=0.8,
            alarm=1,
            queries=[Query(f"max({model('tercet_saturation_ratio')})")],
        ),
        Panel(
            title="Versions in trouble",
            about="Versions that are unavailable although nobody unloaded them.",
            unit="none",
            kind="stat",
            width=4,
            warn=1,
            queries=[
                Query(
                    f"count(count by (model, version) ({model('tercet_model_version_unavailable')}))"
                    " or vector(0)"
                )
            ],
        ),
        Panel(
            title="Processes",
            about="Processes of all tiers that Prometheus could read just now.",
            unit="none",
            kind="stat",
            width=4,
            queries=[Query(f"count({of('tercet_build_info')})")],
        ),
    ],
)

TRAFFIC = Row(
    "Traffic",
    [
        Panel(
            title="Answered, by model",
            about="Requests answered in a second.",
            unit="reqps",
            width=12,
            stacked=True,
            queries=[Query(total(at_the_door(ANSWERED), "model"), "{{model}}")],
        ),
        Panel(
            title="Failed, by reason",
            about=(
                "Requests that were scheduled and failed. REJECTED: refused for load or lateness. CANCELED: "
                "the caller left. BACKEND: the model or its code. OTHER: the rest."
            ),
            unit="reqps",
            width=12,
            stacked=True,
            queries=[Query(total(at_the_door(FAILED), "reason"), "{{reason}}")],
        ),
        Panel(
            title="Refused by queues, by reason",
            about=(
                "Requests that were not run. requests, bytes: a queue was full. share: one caller had more "
                "than its share. late: could not have been answered in time. expired: its deadline came "
                "first."
            ),
            unit="reqps",
            width=12,
            stacked=True,
            queries=[
                Query(total(rate(model("tercet_requests_refused_total")), "reason"), "{{reason}}"),
            ],
        ),
        Panel(
            title="Told callers, by error",
            about=(
                "Calls that were answered with an error, what came no further than the door among them: "
                "unknown models, requests that make no sense, callers without the right."
            ),
            unit="reqps",
            width=12,
            stacked=True,
            queries=[
                Query(
                    total(at_the_door(rate(of("tercet_refusals_total"))), "door", "error"),
                    "{{door}} {{error}}",
                )
            ],
        ),
    ],
)

LATENCY = Row(
    "Latency",
    [
        Panel(
            title="From arrival to answer",
            about="As the process that clients ask measures it; the way over the network is not in it.",
            unit="s",
            queries=[
                Query(quantile(each, DURATIONS), name)
                for each, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ],
        ),
        Panel(
            title="99th percentile, by model",
            about="From arrival to answer.",
            unit="s",
            queries=[Query(quantile(0.99, DURATIONS, "model"), "{{model}}")],
        ),
        Panel(
            title="All durations",
            about="How many requests took how long: two humps are two kinds of requests.",
            unit="s",
            kind="heatmap",
            queries=[Query(total(DURATIONS, "le"), "{{le}}")],
        ),
        Panel(
            title="Mean time waited and run",
            about="Where the time of a request goes in the processes that have the model.",
            unit="s",
            width=12,
            stacked=True,
            queries=[
                Query(mean("tercet_queue_duration_seconds", of_tiers=where_it_runs), "in the queue"),
                Query(mean("tercet_compute_duration_seconds", of_tiers=where_it_runs), "in the model"),
            ],
        ),
        Panel(
            title="Time in pre- and post-processing code",
            about=(
                "99th percentile by stage, steps of ensembles among them, with all waits. What has none has "
                "no line."
            ),
            unit="s",
            width=12,
            queries=[
                Query(
                    quantile(0.99, rate(model("tercet_stage_duration_seconds_bucket")), "model", "stage"),
                    "{{model}} {{stage}}",
                )
            ],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-traffic",
    title="Traffic and latency",
    about="What clients ask, what they get, and how long it takes.",
    rows=[NOW, TRAFFIC, LATENCY],
)
