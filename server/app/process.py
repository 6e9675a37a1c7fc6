"""The roof: builds the parts of one process, owns their tasks, and drains them in reverse.

Parts are opened in the order of need and left in the opposite one: the doors stop before what they
stand on. When a part dies, the process says so and goes.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import structlog
import uvloop

from runtimes.threads import read_cpu, thread_budget
from server.api.grpc_door import PortRefused
from server.api.http_server import PortTaken
from server.app.doors import Doors, listen
from server.app.grpc_choice import GrpcFrontRefused
from server.app.memory_budgets import residency_rules
from server.app.mirrors import Mirrors, MirrorsRefused, open_mirrors
from server.app.orders import Orders, UnknownStartupModel
from server.app.trials import trials
from server.app.welcome import Addresses, welcome
from server.domain.phase import Phase, Station
from server.lifecycle.events import Chronicle
from server.lifecycle.histories import Histories
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.standbys import Policy
from server.observe.access import AccessLog
from server.observe.logs import LogSettings, ProcessLog, logging_to
from server.repository.content import holds
from server.repository.scanner import Scanner
from server.repository.seal import Demand
from server.repository.selection import Selection
from server.repository.signature import KeyUnusable, read_public_key
from server.scheduling.resources import Limit, Resources
from server.scheduling.turns import Turns
from server.settings import Settings
from server.stages.pool import Pool
from server.stages.route import Route

log = structlog.get_logger(__name__)

YOUNG_OBJECTS = 20_000
"""New objects between two looks of the garbage collector at the youngest; Python's own default is 700."""


class StartRefused(Exception):
    """The server cannot start as it is asked to; the sentence says why."""


LEAVE = (signal.SIGTERM, signal.SIGINT)

LAST_BREATH_S = 1.0
"""How long a thread that has nothing left to do may take to end."""

SENTENCES = (StartRefused, MirrorsRefused, PortTaken, PortRefused, GrpcFrontRefused, UnknownStartupModel)
"""Ends of the process that are the operator's to mend: told in a sentence, without a traceback."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code of the process."""
    with _logging(settings) as process_log:
        code = 0
        try:
            uvloop.run(_until_told(settings, process_log))
        except (Exception, ExceptionGroup) as failure:
            for leaf in _leaves(failure):
                if isinstance(leaf, SENTENCES):
                    print(f"tercet: {leaf}", file=sys.stderr)
                else:
                    log.critical("part_died", exc_info=leaf)
            code = 1
        busy = _busy_threads()
        if busy:
            log.warning("threads_left_behind", threads=busy)
    if busy:
        sys.stdout.flush()
        os._exit(code)
    return code


def _busy_threads() -> list[str]:
    """The names of threads that Python would wait for at its exit: a model's own code holds them.

    A thread cannot be stopped, so a process that has waited as long as it was told goes without them.
    """
    until = monotonic() + LAST_BREATH_S
    others = [each for each in threading.enumerate() if each is not threading.current_thread()]
    waited_for = [each for each in others if not each.daemon]
    for thread in waited_for:
        thread.join(max(0.0, until - monotonic()))
    return [thread.name for thread in waited_for if thread.is_alive()]


async def _until_told(settings: Settings, process_log: ProcessLog) -> None:
    if not settings.model_repository:
        raise StartRefused(
            "no model repository is given: name a folder, as in 'tercet serve model_repository'"
        )
    for place in settings.model_repository:
        if isinstance(place, Path) and not place.is_dir():
            raise StartRefused(f"the model repository {place} is not a folder")
    np.seterr(over="ignore", invalid="ignore")  # what clients send is judged where it is read, in a sentence
    stopping = asyncio.Event()
    _on_a_signal_to_leave(partial(asyncio.get_running_loop().call_soon_threadsafe, stopping.set))
    await Process(settings, process_log).run(stopping)


def _on_a_signal_to_leave(leave: Callable[[], object]) -> None:
    """Call `leave` at the first of them, and ignore all others, until the process is gone.

    The loop's own handlers end with the loop, and a signal between that and the exit would kill.
    """

    def told(*_: object) -> None:
        for number in LEAVE:
            signal.signal(number, signal.SIG_IGN)
        with suppress(RuntimeError):  # the loop is closed: a part has died, and the process is going anyway
            leave()

    for number in LEAVE:
        signal.signal(number, told)


class Process:
    """One process with every stage inside: what it is made of, and in which order that comes and goes.

    Without a `process_log` it opens that of its settings while it runs.
    """

    def __init__(self, settings: Settings, process_log: ProcessLog | None = None) -> None:
        self._settings = settings
        self._log = process_log
        self._station = Station()
        self._closing = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set, or until any part fails."""
        async with AsyncExitStack() as parts:
            if self._log is None:
                self._log = parts.enter_context(_logging(self._settings))
            access = self._access_log(parts)
            listeners = listen(self._settings, parts)
            addresses = Addresses(**{door: each.getsockname()[:2] for door, each in listeners.items()})
            histories = await parts.enter_async_context(self._histories())
            chronicle = Chronicle()
            chronicle.heard_by(histories.hear)
            manager = await parts.enter_async_context(self._manager(chronicle))
            mirrors = parts.enter_context(open_mirrors(self._settings, manager))
            orders = parts.enter_context(self._orders(manager, mirrors))
            pool = Pool(self._settings.stage_threads, self._settings.stage_queue_size)
            parts.callback(pool.close)
            async with asyncio.TaskGroup() as tasks:
                mirroring = tasks.create_task(mirrors.follow(), name="remote repositories")
                following = tasks.create_task(orders.follow(), name="repository")
                doors = Doors(
                    *(self._settings, self._station, self._closing, manager, orders, self._log),
                    mirrors.measured,
                    histories,
                )
                doors.open(tasks, listeners, Route(manager.table, pool), access)
                starting = tasks.create_task(self._greet(manager, orders, addresses), name="start")
                await stopping.wait()
                log.info("server_leaving", grace_s=self._settings.drain_grace_secs)
                self._station.move_to(Phase.LEAVING)
                await asyncio.sleep(self._settings.drain_grace_secs)
                self._station.move_to(Phase.STOPPING)
                starting.cancel()
                following.cancel()
                mirroring.cancel()
                self._closing.set()
            log.info("server_drained")
        log.info("server_stopped")

    def _histories(self) -> Histories:
        state_dir = self._settings.state_dir
        return Histories(state_dir / "history" if state_dir is not None else None)

    def _manager(self, events: Chronicle) -> Manager:
        settings = self._settings
        processors = settings.cpu_threads or thread_budget(read_cpu())
        loader = Loader(
            cpu_budget=processors,
            max_queue_size=settings.max_queue_size,
            max_queue_bytes=settings.max_queue_bytes,
            auto_complete=not settings.disable_auto_complete_config,
            turns=Turns(
                concurrency=settings.device_concurrency,
                processors=processors,
                resources=None if settings.rate_limit == "off" else Resources(_resource_limits(settings)),
            ),
            resource_limits=_resource_limits(settings),
            fair_clients=bool(settings.fairness_header),
        )
        return Manager(
            loader,
            load_threads=settings.model_load_thread_count,
            retries=settings.model_load_retry_count,
            retire_within_s=settings.exit_timeout_secs,
            max_in_flight=settings.max_queue_size,
            trials=trials(settings) if settings.verify_models else None,
            rules=residency_rules(settings),
            same_content=holds,
            events=events,
            rollback=Policy(window_s=settings.rollback_window_secs, is_on=settings.rollback),
            labels_kept=settings.state_dir / "labels.json" if settings.state_dir is not None else None,
        )

    def _orders(self, manager: Manager, mirrors: Mirrors) -> Orders:
        settings = self._settings
        scanner = Scanner(
            [mirrors.folder_of(place) for place in settings.model_repository],
            config_name=settings.model_config_name,
            settle_s=settings.repository_settle_secs,
            demand=_demand(settings),
            selection=Selection(include=settings.include_models, exclude=settings.exclude_models),
            remarks=mirrors.remarks,
        )
        return Orders(
            scanner,
            manager,
            mirrors,
            settings.model_control_mode,
            poll_s=settings.repository_poll_secs,
            at_start=settings.load_model,
        )

    async def _greet(self, manager: Manager, orders: Orders, addresses: Addresses) -> None:
        """Once every model was tried: say what is served, and be ready."""
        await orders.begun.wait()
        await manager.all_settled()
        if self._settings.exit_on_error and not manager.ready(strict=True):
            raise StartRefused("a model failed to load, and --exit-on-error is on; the log says why")
        _spare_the_collector()
        self._station.move_to(Phase.SERVING)
        log.info("server_ready")
        folders = [place for place in self._settings.model_repository if isinstance(place, Path)]
        shown = welcome(manager, addresses, folders, docs=self._settings.docs)
        print(shown, flush=True)

    def _access_log(self, parts: AsyncExitStack) -> AccessLog | None:
        settings = self._settings
        if not settings.access_log:
            return None
        stream = sys.stderr
        if settings.log_file is not None:
            stream = parts.enter_context(settings.log_file.open("a", encoding="utf-8"))
        return parts.enter_context(AccessLog(stream))


def _resource_limits(settings: Settings) -> list[Limit]:
    """What there is for the rate limiter; nothing to hold models against where it is off."""
    if settings.rate_limit == "off":
        return []
    return [Limit(each.name, each.count, each.device) for each in settings.rate_limit_resource]


def _demand(settings: Settings) -> Demand:
    key = settings.manifest_public_key
    try:
        verify = read_public_key(key) if key else None
    except KeyUnusable as error:
        raise StartRefused(f"--manifest-public-key: {error}") from None
    return Demand(manifest=settings.require_manifest or key is not None, verify=verify)


def _logging(settings: Settings) -> AbstractContextManager[ProcessLog]:
    return logging_to(
        LogSettings(
            verbose=settings.log_verbose,
            info=settings.log_info,
            warning=settings.log_warning,
            error=settings.log_error,
            format=settings.log_format,
            file=settings.log_file,
        )
    )


def _spare_the_collector() -> None:
    """What stands by now will stand to the end: the garbage collector need not look at it again and again.

    Requests leave few cycles behind, so it may come more seldom, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    """The exceptions themselves, out of their groups."""
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
