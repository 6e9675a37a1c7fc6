"""Which versions serve, how new ones fare beside old ones, and what went wrong with them."""

from deploy.dashboards.grafana import Dashboard, Panel, Query, Row
from deploy.dashboards.queries import at_the_door, model, of, quantile, rate, share, total

OUR_FAILURES = rate(model("nv_inference_request_failure", 'reason=~"BACKEND|OTHER"'))
BY_VERSION = "{{model}} {{version}}"


def happened(*events: str) -> str:
    of_events = f'event=~"{"|".join(events)}"'
    return total(
        f"increase({model('tercet_model_transitions_total', of_events)}[$__rate_interval])", "model", "event"
    )


STANDING = Row(
    "Standing",
    [
        Panel(
            title="Versions, by state",
            about="Of all processes together. LOADING that does not go away is a load that hangs.",
            unit="none",
            stacked=True,
            queries=[Query(total(of("tercet_model_versions"), "state"), "{{state}}")],
        ),
        Panel(
            title="In trouble",
            about="Unavailable although nobody unloaded it. The repository index, `tercet models`, says why.",
            unit="none",
            kind="table",
            width=16,
            queries=[
                Query(
                    f"max by (model, version, instance) ({model('tercet_model_version_unavailable')})",
                )
            ],
        ),
    ],
)

ROLLOUTS = Row(
    "Rollouts",
    [
        Panel(
            title="Answered, by version",
            about="A rollout is one line that takes over from another.",
            unit="reqps",
            stacked=True,
            queries=[
                Query(
                    total(at_the_door(rate(model("nv_inference_request_success"))), "model", "version"),
                    BY_VERSION,
                )
            ],
        ),
        Panel(
            title="Failed, by version",
            about="Share of the version's requests that failed through no fault of the caller.",
            unit="percentunit",
            queries=[
                Query(
                    share(
                        total(at_the_door(OUR_FAILURES), "model", "version"),
                        "("
                        + total(at_the_door(rate(model("nv_inference_request_success"))), "model", "version")
                        + " + "
                        + total(at_the_door(rate(model("nv_inference_request_failure"))), "model", "version")
                        + ")",
                    ),
                    BY_VERSION,
                )
            ],
        ),
        Panel(
            title="95th percentile, by version",
            about="From arrival to answer.",
            unit="s",
            queries=[
                Query(
                    quantile(
                        0.95,
                        at_the_door(rate(model("tercet_request_duration_seconds_bucket"))),
                        "model",
                        "version",
                    ),
                    BY_VERSION,
                )
            ],
        ),
        Panel(
            title="Came and went",
            about="What happened to versions: loads, swaps, unloads, evictions, over all processes.",
            unit="none",
            queries=[
                Query(
                    happened("loading", "ready", "swapped", "resized", "unloaded", "evicted", "brought_back"),
                    "{{model}} {{event}}",
                )
            ],
        ),
        Panel(
            title="Went wrong",
            about=(
                "rejected: failed its trial or its load. rolled_back: taken back after it served. "
                "worker_lost: its process ended. quarantined: it ended so often that it is not started "
                "again."
            ),
            unit="none",
            queries=[
                Query(
                    happened("rejected", "rolled_back", "worker_lost", "quarantined"),
                    "{{model}} {{event}}",
                )
            ],
        ),
        Panel(
            title="Starts of models' own processes after an end",
            about="Of models with `runtime_worker`, in a second.",
            unit="ops",
            queries=[
                Query(
                    total(rate(model("tercet_runtime_worker_restarts_total")), "model", "version"),
                    BY_VERSION,
                )
            ],
        ),
    ],
)

LOADS = Row(
    "Loads and repositories",
    [
        Panel(
            title="How long loads took",
            about=(
                "95th percentile: from opening a version's files to its being ready; and the part it was run"
                " in."
            ),
            unit="s",
            queries=[
                Query(
                    quantile(0.95, rate(model("tercet_model_load_seconds_bucket")), "model"), "{{model}} load"
                ),
                Query(
                    quantile(0.95, rate(model("tercet_model_warmup_seconds_bucket")), "model"),
                    "{{model}} warmup",
                ),
            ],
        ),
        Panel(
            title="The last load of each version",
            about="In seconds.",
            unit="s",
            queries=[
                Query(f"max by (model, version) ({model('nv_model_load_duration_secs')})", BY_VERSION),
            ],
        ),
        Panel(
            title="Since remote repositories answered",
            about=(
                "Grows where a repository is out of reach: what is cached serves on, and nothing new comes."
            ),
            unit="s",
            queries=[
                Query(
                    "time() - max by (instance, repository) "
                    f"({of('tercet_repository_last_poll_timestamp_seconds')})",
                    "{{instance}} {{repository}}",
                )
            ],
        ),
        Panel(
            title="Fetched",
            about="Bytes in a second that came from remote repositories.",
            unit="Bps",
            width=12,
            queries=[
                Query(
                    total(rate(of("tercet_repository_fetched_bytes_total")), "instance", "repository"),
                    "{{instance}} {{repository}}",
                )
            ],
        ),
        Panel(
            title="Could not be fetched",
            about="Models and versions, in a second.",
            unit="ops",
            width=12,
            queries=[
                Query(
                    total(rate(of("tercet_repository_fetch_failures_total")), "instance", "repository"),
                    "{{instance}} {{repository}}",
                )
            ],
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="tercet-versions",
    title="Versions and rollouts",
    about="Which versions serve, how new ones fare beside old ones, and what went wrong with them.",
    rows=[STANDING, ROLLOUTS, LOADS],
)
