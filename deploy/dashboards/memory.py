"""What is in memory, what had to leave for it, and who waited for it to come back."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import model, of, quantile, rate, share, total

BY_DEVICE = "{{instance}} {{device}}"


def gauge(name: str, called: str, empty_without: str = "") -> Query:
    return Query(f"sum by (instance, device) ({of(name)})", f"{BY_DEVICE} {called}", empty_without)


BUDGET = Row(
    "Budget",
    [
        Panel(
            title="Memory that models take",
            about=(
                "Counted: reserved, taken, or not given back yet. Leaving: the part of it that versions "
                "which left are giving back. Budget: --memory-budget."
            ),
            unit="bytes",
            width=12,
            queries=[
                gauge("tercet_memory_counted_bytes", "counted"),
                gauge("tercet_memory_leaving_bytes", "leaving"),
                gauge("tercet_memory_budget_bytes", "budget"),
            ],
        ),
        Panel(
            title="Left of the budget",
            about="Below 0, measuring has found more than was reserved.",
            unit="bytes",
            width=12,
            queries=[gauge("tercet_memory_free_bytes", "")],
        ),
        Panel(
            title="The largest models in memory",
            about="Memory counted for a version, in one process, on one device.",
            unit="bytes",
            width=12,
            queries=[
                Query(
                    f"topk(10, max by (model, version, device) ({model('tercet_model_memory_bytes')}))",
                    "{{model}} {{version}} {{device}}",
                )
            ],
        ),
        Panel(
            title="Reserved over taken",
            about=(
                "1 is a perfect estimate of what a load will take. Far above 1, memory lies idle while "
                "others wait."
            ),
            unit="none",
            width=12,
            queries=[
                Query(
                    f"max by (model, version) ({model('tercet_model_memory_estimate_ratio')})",
                    "{{model}} {{version}}",
                )
            ],
        ),
    ],
)

COMING_AND_GOING = Row(
    "Coming and going",
    [
        Panel(
            title="Requests that found their version not in memory",
            about="Share of the requests to that model. Each waited for a load.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(rate(model("tercet_cold_requests_total")), "model"),
                        total(rate(model("nv_inference_request_success")), "model"),
                    ),
                    "{{model}}",
                )
            ],
        ),
        Panel(
            title="How long they waited",
            about="From arrival to the version being in memory.",
            unit="s",
            queries=[
                Query(quantile(each, rate(of("tercet_cold_wait_seconds_bucket"))), name)
                for each, name in ((0.5, "median"), (0.99, "99 %"))
            ],
        ),
        Panel(
            title="Loads",
            about="Versions that were loaded, in a second.",
            unit="ops",
            queries=[Query(total(rate(model("tercet_model_load_seconds_count")), "model"), "{{model}}")],
        ),
        Panel(
            title="Evictions, by reason",
            about="Versions that had to leave memory, in a second.",
            unit="ops",
            stacked=True,
            queries=[Query(total(rate(model("tercet_evictions_total")), "reason"), "{{reason}}")],
        ),
        Panel(
            title="Evictions per load",
            about="Near 1, every load throws somebody out: the budget is too small for what is asked for.",
            unit="none",
            queries=[
                Query(
                    share(
                        total(rate(of("tercet_residency_age_seconds_count"))),
                        total(rate(of("tercet_model_load_seconds_count"))),
                    )
                )
            ],
        ),
        Panel(
            title="How long what left had been in memory",
            about=(
                "Seconds are thrash: the same models come and go. The line `oldest` is who was asked for "
                "longest ago."
            ),
            unit="s",
            queries=[
                *(
                    Query(quantile(each, rate(of("tercet_residency_age_seconds_bucket"))), name)
                    for each, name in ((0.1, "10 %"), (0.5, "median"))
                ),
                Query(f"max({of('tercet_memory_lru_age_seconds')})", "oldest"),
            ],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-memory",
    title="Memory and residency",
    about="What is in memory, what had to leave for it, and who waited for it to come back.",
    rows=[BUDGET, COMING_AND_GOING],
)
