"""The roof: builds the parts of one process, owns their tasks, and drains them in reverse.

Parts are opened in the order of need and left in the opposite one: the doors stop before what they
stand on. When a part dies, the process says so and goes.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TextIO

import numpy as np
import structlog
import uvloop

from runtimes.memory import keep_freed
from server.api.grpc_door import PortRefused
from server.api.http_server import PortTaken
from server.app.collector import come_seldom, spare_what_stands
from server.app.doors import Doors, listen
from server.app.gateway import gateway_models
from server.app.grpc_choice import GrpcFrontRefused
from server.app.local import local_models
from server.app.mirrors import MirrorsRefused
from server.app.models import Models
from server.app.notifying import READY, STOPPING, tell
from server.app.orders import UnknownStartupModel
from server.app.refused import StartRefused
from server.app.security import Security
from server.app.tracing import traces
from server.app.welcome import Addresses, welcome
from server.domain.phase import Phase, Station
from server.observe.access import AccessLog
from server.observe.audit import AuditLog
from server.observe.logs import LogSettings, ProcessLog, logging_to
from server.observe.tracing.tracer import Tracer
from server.precedence import come_first, give_way
from server.settings import Settings

log = structlog.get_logger(__name__)

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
    if not settings.model_repository and settings.role != "gateway":
        raise StartRefused(
            "no model repository is given: name a folder, as in 'tercet serve model_repository'"
        )
    for place in settings.model_repository:
        if isinstance(place, Path) and not place.is_dir():
            raise StartRefused(f"the model repository {place} is not a folder")
    keep_freed()
    come_seldom()
    np.seterr(over="ignore", invalid="ignore")  # what clients send is judged where it is read, in a sentence
    come_first()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(None, "aside", initializer=give_way))
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
    """One process, whatever its role: what it is made of, and in which order that comes and goes.

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
            audit = parts.enter_context(AuditLog(self._log_stream(parts)))
            tracer = parts.enter_context(traces(self._settings))
            listeners = listen(self._settings, parts)
            addresses = Addresses(**{door: each.getsockname()[:2] for door, each in listeners.items()})
            security = Security(self._settings)
            models = await parts.enter_async_context(self._models(tracer))
            async with asyncio.TaskGroup() as tasks:
                models.begin(tasks)
                doors = Doors(
                    self._settings, self._station, self._closing, models.behind, self._log, security, audit
                )
                doors.open(tasks, listeners, access, tracer)
                starting = tasks.create_task(self._greet(models, doors, addresses, security), name="start")
                await stopping.wait()
                log.info("server_leaving", grace_s=self._settings.drain_grace_secs)
                tell(STOPPING)
                self._move_to(Phase.LEAVING, models)
                await doors.leave(self._settings.drain_grace_secs)
                self._move_to(Phase.STOPPING, models)
                starting.cancel()
                models.stop()
                self._closing.set()
            log.info("server_drained")
        log.info("server_stopped")

    def _models(self, tracer: Tracer | None) -> AbstractAsyncContextManager[Models]:
        """Those of this process, or of the tiers behind it."""
        if self._settings.role == "gateway":
            return gateway_models(self._settings, self._station, self._closing)
        return local_models(self._settings, self._station, tracer)

    def _move_to(self, phase: Phase, models: Models) -> None:
        self._station.move_to(phase)
        models.moved()

    async def _greet(self, models: Models, doors: Doors, addresses: Addresses, security: Security) -> None:
        """Once every model was tried: say what is served, and be ready."""
        await models.settled()
        if self._settings.exit_on_error and not models.all_serve():
            raise StartRefused("a model failed to load, and --exit-on-error is on; the log says why")
        spare_what_stands()
        await doors.begin()
        self._move_to(Phase.SERVING, models)
        log.info("server_ready")
        tell(READY)
        folders = [place for place in self._settings.model_repository if isinstance(place, Path)]
        shown = welcome(
            models.behind.catalogue,
            addresses,
            folders,
            docs=self._settings.docs,
            scheme="http" if security.http_tls is None else "https",
            is_open=security.is_open,
        )
        print(shown, flush=True)

    def _access_log(self, parts: AsyncExitStack) -> AccessLog | None:
        settings = self._settings
        if not settings.access_log:
            return None
        return parts.enter_context(AccessLog(self._log_stream(parts)))

    def _log_stream(self, parts: AsyncExitStack) -> TextIO:
        file = self._settings.log_file
        return parts.enter_context(file.open("a", encoding="utf-8")) if file is not None else sys.stderr


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


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    """The exceptions themselves, out of their groups."""
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
