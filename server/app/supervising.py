"""`tercet up`: makes of options what the supervisor is to do, and has it done or a running one told."""

import sys
from collections.abc import Mapping

from runtimes.processors import read_cpu, thread_budget
from server.app.command import CommandFailed, UsageError
from server.observe.logs import LogSettings
from server.settings import Settings
from server.supervisor.command import UpSettings, run
from server.supervisor.plan import PlanInvalid, Ports, Role, counts
from server.supervisor.rolling import NotRolled, roll
from server.supervisor.words import UpWords, passed_on

DRAIN_GRACE_S = 2.0
"""Where no other is given: there is another process to go to, and clients need a moment for it."""

LAST_BREATH_S = 5.0
"""Beyond what a process may take for its requests and its models, until it is killed."""


def supervise(own: UpWords, given: Mapping[str, object], follows: bool, settings: Settings) -> int:
    """Run the fleet until it is told to stop; the exit code.

    `given` is what the command line says for `serve`, by field, of which `settings` were made; if `follows`,
    repositories were named without an option.
    """
    if not (settings.allow_metrics and settings.allow_http and settings.allow_grpc):
        raise UsageError(
            "tercet up needs --allow-http, --allow-grpc and --allow-metrics: processes are seen by them"
        )
    processors = settings.cpu_threads or thread_budget(read_cpu())
    try:
        count = counts(own.counts, processors)
    except PlanInvalid as error:
        raise UsageError(str(error)) from None
    _check_doors(settings, in_tiers=any(count.get(role) for role in Role if role is not Role.ALL))
    if count.get(Role.ALL, 0) > 1 and settings.model_control_mode == "explicit":
        print(
            "tercet: warning: a call that loads or unloads a model reaches one of the processes, not all",
            file=sys.stderr,
        )
    if settings.http_address != settings.grpc_address:
        raise UsageError(
            "tercet up has one address for --http-address and --grpc-address: give both the same"
        )
    grace_s = settings.drain_grace_secs or DRAIN_GRACE_S
    options = dict(passed_on(given))
    options.setdefault("--drain-grace-secs", [f"{grace_s:g}"])
    places = [str(place) for place in settings.model_repository]
    return run(
        UpSettings(
            count=count,
            repositories=places if follows else [f"--model-repository={place}" for place in places],
            options=options,
            processors=processors,
            front=Ports(settings.http_address, settings.http_port, settings.grpc_port),
            view=(settings.metrics_address or settings.http_address, settings.metrics_port),
            leave_s=grace_s + 2 * settings.exit_timeout_secs + LAST_BREATH_S,
            replace_s=own.restart_wait_s,
            scrape_s=own.scrape_s,
            surge=own.surge,
            log=LogSettings(
                verbose=settings.log_verbose,
                info=settings.log_info,
                warning=settings.log_warning,
                error=settings.log_error,
                format=settings.log_format,
                file=settings.log_file,
            ),
        )
    )


def _check_doors(settings: Settings, *, in_tiers: bool) -> None:
    """The supervisor asks its processes on their metrics ports, and shows what they say.

    Raises `UsageError`.
    """
    if settings.tls_certificate or settings.tier_tls_certificate:
        raise UsageError("tercet up asks its processes without TLS: put a proxy that has it before them")
    asks = settings.api_keys is not None or bool(settings.jwt_jwks)
    if in_tiers and (asks or settings.grpc_use_ssl or settings.grpc_use_ssl_mutual):
        raise UsageError(
            "tercet up has no certificates for tiers, and they do not ask for keys without: "
            "give the gateway's keys to a proxy before it, or start the tiers one by one"
        )
    rights = settings.anonymous_rights
    if (asks or rights) and "metrics" not in rights.split(","):
        raise UsageError(
            "tercet up shows the metrics of all its processes to everybody: "
            "say so by --anonymous-rights=metrics, or more with commas"
        )


def roll_running(own: UpWords, settings: Settings) -> int:
    """Have the fleet whose metrics port is given replaced; the exit code."""
    try:
        roll(
            settings.metrics_address or settings.http_address,
            settings.metrics_port,
            within_s=own.restart_wait_s,
        )
    except NotRolled as error:
        raise CommandFailed(str(error)) from None
    return 0
