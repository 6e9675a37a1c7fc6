"""Where the time goes between tiers, which tier is the bottleneck, and who answers."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import model, of, quantile, rate, share, total

READY = of("tercet_tier_endpoints", 'state="ready"')
KNOWN = of("tercet_tier_endpoints", 'state="known"')

SHAPE = Row(
    "Who is there",
    [
        Panel(
            title="Processes that take requests, by tier",
            about="As those that ask the tier see it, each for itself. The lowest answer counts.",
            unit="none",
            queries=[
                Query(f"min by (tier) ({READY})", "{{tier}} ready"),
                Query(f"max by (tier) ({KNOWN})", "{{tier}} known"),
            ],
        ),
        Panel(
            title="Saturation, by tier",
            about=(
                "Demand over capacity, mean of the tier's processes. The highest is the bottleneck; 1 is "
                "full."
            ),
            unit="percentunit",
            warn=0.8,
            alarm=1,
            queries=[Query(f"max by (tier) ({of('tercet_tier_saturation_ratio')})", "{{tier}}")],
        ),
        Panel(
            title="Left alone because they did not answer",
            about="How often a process of a tier was passed over for a while, in a second.",
            unit="ops",
            queries=[
                Query(
                    total(rate(of("tercet_hop_ejections_total")), "tier", "instance"),
                    "{{tier}}, seen from {{instance}}",
                )
            ],
        ),
    ],
)

TIME = Row(
    "Where the time goes",
    [
        Panel(
            title="99th percentile, by stage and part",
            about="queue and compute: in the stage's process. transfer: the way there and back.",
            unit="s",
            width=12,
            queries=[
                Query(
                    quantile(0.99, rate(model("tercet_stage_time_seconds_bucket")), "stage", "part"),
                    "{{stage}} {{part}}",
                )
            ],
        ),
        Panel(
            title="Mean, by stage and part",
            about="Stacked: together, the mean time of a request that goes through all of them.",
            unit="s",
            width=12,
            stacked=True,
            queries=[
                Query(
                    share(
                        total(rate(model("tercet_stage_time_seconds_sum")), "stage", "part"),
                        total(rate(model("tercet_stage_time_seconds_count")), "stage", "part"),
                    ),
                    "{{stage}} {{part}}",
                )
            ],
        ),
    ],
)

HOP = Row(
    "The hop",
    [
        Panel(
            title="Requests sent to each tier",
            about="By all that hand on to it.",
            unit="reqps",
            queries=[Query(total(rate(of("tercet_hop_requests_total")), "tier"), "{{tier}}")],
        ),
        Panel(
            title="Requests in a bundle",
            about="How many share one message. 1 under load means that nobody waits for company: see --role.",
            unit="none",
            queries=[
                Query(
                    share(
                        total(rate(of("tercet_hop_requests_total")), "tier"),
                        total(rate(of("tercet_hop_bundles_total")), "tier"),
                    ),
                    "{{tier}}",
                )
            ],
        ),
        Panel(
            title="Unanswered",
            about="Requests that lie with a tier. One process with far more than the others is slow.",
            unit="none",
            queries=[
                Query(
                    total(of("tercet_hop_unanswered_requests"), "tier", "instance"),
                    "{{tier}}, seen from {{instance}}",
                )
            ],
        ),
        Panel(
            title="Sent once more",
            about="Requests in a second that went to another process, as the first cannot have begun them, "
            "or beside a slow one, for models that allow that.",
            unit="reqps",
            width=24,
            queries=[
                Query(total(rate(of("tercet_hop_retries_total")), "instance"), "{{instance}}"),
                Query(total(rate(of("tercet_hop_hedges_total")), "instance"), "{{instance}}, beside"),
            ],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-tiers",
    title="Tiers and the hop",
    about="Where the time goes between tiers, which tier is the bottleneck, and who answers.",
    rows=[SHAPE, TIME, HOP],
)
