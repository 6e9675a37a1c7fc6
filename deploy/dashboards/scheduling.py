"""How requests wait, share runs, and are turned away."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import (
    in_their_tier,
    mean,
    model,
    quantile,
    rate,
    share,
    total,
    where_it_runs,
)

DURATIONS = rate(model("tercet_request_duration_seconds_bucket"))

QUEUES = Row(
    "Queues",
    [
        Panel(
            title="Saturation, by model and tier",
            about=(
                "What is asked, over what the processes can do: 1 is full, 2 is twice what can be done. "
                "It is what a tier is scaled by."
            ),
            unit="percentunit",
            width=12,
            warn=0.8,
            alarm=1,
            queries=[
                Query(
                    f"max by (tier, model) ({in_their_tier(model('tercet_saturation_ratio'))})",
                    "{{tier}} {{model}}",
                )
            ],
        ),
        Panel(
            title="How long requests wait, over how long they may",
            about=(
                "They may for the latency target of the model, or for ten of its runs. Above 1 callers "
                "suffer. A high saturation with little of this is a tier that is busy and keeps up."
            ),
            unit="percentunit",
            width=12,
            alarm=1,
            queries=[
                Query(
                    f"max by (tier, model) ({in_their_tier(model('tercet_queue_wait_ratio'))})",
                    "{{tier}} {{model}}",
                )
            ],
        ),
        Panel(
            title="Requests that wait",
            about="Accepted and not yet running, in all processes together.",
            unit="none",
            width=12,
            queries=[
                Query(
                    f"sum by (tier, model) ({in_their_tier(model('nv_inference_pending_request_count'))})",
                    "{{tier}} {{model}}",
                )
            ],
        ),
        Panel(
            title="Time in the queue of the model",
            about="99th percentile, from joining the queue to the start of the run.",
            unit="s",
            width=12,
            queries=[
                Query(
                    quantile(
                        0.99, where_it_runs(rate(model("tercet_queue_duration_seconds_bucket"))), "model"
                    ),
                    "{{model}}",
                )
            ],
        ),
        Panel(
            title="Refused, by reason and model",
            about=(
                "Share of all requests to the model. requests, bytes: the queue was full. share: one caller "
                "had more than its share. late: could not have been answered in time. expired: its deadline "
                "came first."
            ),
            unit="percentunit",
            width=24,
            queries=[
                Query(
                    f"{total(where_it_runs(rate(model('tercet_requests_refused_total'))), 'model', 'reason')}"
                    " / on (model) group_left () "
                    f"({total(where_it_runs(rate(model('nv_inference_request_success'))), 'model')} + "
                    f"{total(where_it_runs(rate(model('nv_inference_request_failure'))), 'model')} > 0)",
                    "{{model}} {{reason}}",
                )
            ],
        ),
    ],
)

BATCHES = Row(
    "Batches",
    [
        Panel(
            title="Rows of a run",
            about="Mean. Near the largest batch of the model, its runs are as cheap as they get.",
            unit="none",
            queries=[Query(mean("tercet_batch_rows", "model", of_tiers=where_it_runs), "{{model}}")],
        ),
        Panel(
            title="Runs by rows",
            about="How many runs had how many rows.",
            unit="none",
            kind="heatmap",
            queries=[Query(total(where_it_runs(rate(model("tercet_batch_rows_bucket"))), "le"), "{{le}}")],
        ),
        Panel(
            title="Runs",
            about="Runs of the model in a second.",
            unit="ops",
            queries=[
                Query(total(where_it_runs(rate(model("nv_inference_exec_count"))), "model"), "{{model}}")
            ],
        ),
        Panel(
            title="Why batches left",
            about=(
                "full: it could take no more rows. preferred: it had a preferred size. delay: the wait for "
                "company was over. idle: an instance was free. deadline: the next one could not have been "
                "answered in time."
            ),
            unit="ops",
            stacked=True,
            queries=[
                Query(total(where_it_runs(rate(model("tercet_batches_total"))), "reason"), "{{reason}}"),
            ],
        ),
        Panel(
            title="Why batches were small",
            about=(
                "alone: nobody else waited. shapes: others had shapes that cannot share a run. fit: the next"
                " one had too many rows. preferred: a preferred size was reached. deadline: more would have "
                "been late. unbatched: the model takes one request at a time."
            ),
            unit="ops",
            stacked=True,
            queries=[
                Query(
                    total(where_it_runs(rate(model("tercet_small_batches_total"))), "reason"), "{{reason}}"
                ),
            ],
        ),
        Panel(
            title="Share that padding added",
            about="Of the elements that were run, those that only made up a shape. Wasted work.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(rate(model("tercet_padding_elements_total")), "model", "padded"),
                        f"({total(rate(model('tercet_padding_elements_total')), 'model', 'padded')} + "
                        f"{total(rate(model('tercet_padded_real_elements_total')), 'model', 'padded')})",
                    ),
                    "{{model}} {{padded}}",
                )
            ],
        ),
    ],
)

TARGETS = Row(
    "Latency targets",
    [
        Panel(
            title="What requests took, over the target",
            about="99th percentile of models with `latency_target_ms`. Above 1 the target is missed.",
            unit="percentunit",
            width=12,
            alarm=1,
            queries=[
                Query(
                    f"{quantile(0.99, where_it_runs(DURATIONS), 'model')}"
                    f" / on (model) max by (model) ({model('tercet_latency_target_seconds')})",
                    "{{model}}",
                )
            ],
        ),
        Panel(
            title="What runs took, over what was expected",
            about=(
                "Median and 95th percentile of models with a target. Far from 1, batches are formed on wrong"
                " sums."
            ),
            unit="none",
            width=12,
            queries=[
                Query(
                    quantile(each, rate(model("tercet_prediction_ratio_bucket")), "model"),
                    "{{model}} " + name,
                )
                for each, name in ((0.5, "median"), (0.95, "95 %"))
            ],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-scheduling",
    title="Queues and batches",
    about="How requests wait, share runs, and are turned away.",
    rows=[QUEUES, BATCHES, TARGETS],
)
