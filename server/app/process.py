"""The roof: builds the parts of one process, owns their tasks, and drains them in reverse.

Parts are opened in the order of need and left in the opposite one: the doors stop before what they
stand on. When a part dies, the process says so and goes.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version as installed_version
from time import monotonic
from typing import Any

import numpy as np
import structlog
import uvloop

from runtimes.threads import read_cpu, thread_budget
from server.api.forwarding import HeaderForwarding
from server.api.grpc_door import GrpcDoor, PortRefused
from server.api.grpc_health import HealthDoor
from server.api.grpc_server import grpcio_server
from server.api.grpc_stream import InferStreams
from server.api.grpc_transport import Transport
from server.api.http_server import PortTaken, bind, serve_http
from server.api.infer_door import InferDoor
from server.api.metrics_door import MetricsDoor
from server.api.reply import Table
from server.api.rest import HttpDoor, rest_app
from server.api.short_way import ConnectionLimits, Heads, ShortWay, Targets
from server.app.grpc_choice import GrpcFrontRefused, choose, needs_grpcio
from server.app.orders import Orders, UnknownStartupModel
from server.app.welcome import Addresses, welcome
from server.domain.health import Health
from server.domain.limits import Limits
from server.domain.phase import Phase, Station
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.observe.access import AccessLog
from server.observe.logs import LogSettings, ProcessLog, logging_to
from server.observe.metrics import MachineCollector, Measured, ProcessCollector, TallyCollector, registry
from server.repository.scanner import Scanner
from server.settings import Settings
from server.stages.pool import Pool
from server.stages.route import Route
from server.wire.codes import CODES, TRITON_CODES

log = structlog.get_logger(__name__)

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
"""Of the protocol's extensions, those that are on."""


YOUNG_OBJECTS = 20_000
"""New objects between two looks of the garbage collector at the youngest; Python's own default is 700."""


class StartRefused(Exception):
    """The server cannot start as it is asked to; the sentence says why."""


LEAVE = (signal.SIGTERM, signal.SIGINT)

LAST_BREATH_S = 1.0
"""How long a thread that has nothing left to do may take to end."""

SENTENCES = (StartRefused, PortTaken, PortRefused, GrpcFrontRefused, UnknownStartupModel)
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
    for folder in settings.model_repository:
        if not folder.is_dir():
            raise StartRefused(f"the model repository {folder} is not a folder")
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
            listeners = self._listen(parts)
            addresses = Addresses(**{door: each.getsockname()[:2] for door, each in listeners.items()})
            manager = await parts.enter_async_context(self._manager())
            orders = parts.enter_context(self._orders(manager))
            pool = Pool(self._settings.stage_threads, self._settings.stage_queue_size)
            parts.callback(pool.close)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(orders.follow(), name="repository")
                self._open_doors(tasks, manager, orders, pool, access, listeners)
                starting = tasks.create_task(self._greet(manager, orders, addresses), name="start")
                await stopping.wait()
                log.info("server_leaving", grace_s=self._settings.drain_grace_secs)
                self._station.move_to(Phase.LEAVING)
                await asyncio.sleep(self._settings.drain_grace_secs)
                self._station.move_to(Phase.STOPPING)
                starting.cancel()
                following.cancel()
                self._closing.set()
            log.info("server_drained")
        log.info("server_stopped")

    def _manager(self) -> Manager:
        settings = self._settings
        loader = Loader(
            cpu_budget=settings.cpu_threads or thread_budget(read_cpu()),
            max_queue_size=settings.max_queue_size,
            auto_complete=not settings.disable_auto_complete_config,
        )
        return Manager(
            loader,
            load_threads=settings.model_load_thread_count,
            retries=settings.model_load_retry_count,
            retire_within_s=settings.exit_timeout_secs,
        )

    def _orders(self, manager: Manager) -> Orders:
        settings = self._settings
        scanner = Scanner(
            settings.model_repository,
            config_name=settings.model_config_name,
            settle_s=settings.repository_settle_secs,
        )
        return Orders(
            scanner,
            manager,
            settings.model_control_mode,
            poll_s=settings.repository_poll_secs,
            at_start=settings.load_model,
        )

    def _open_doors(
        self,
        tasks: asyncio.TaskGroup,
        manager: Manager,
        orders: Orders,
        pool: Pool,
        access: AccessLog | None,
        listeners: dict[str, socket.socket],
    ) -> None:
        settings = self._settings
        codes = CODES if settings.overload_status == "tercet" else TRITON_CODES
        route = Route(manager.table, pool)
        health = Health(self._station, lambda: manager.ready(settings.strict_readiness))
        limits = self._limits()
        about: dict[str, Any] = {
            "name": settings.id,
            "version": installed_version("tercet"),
            "extensions": EXTENSIONS,
            "log": self._log,
            "codes": codes,
        }
        if "http" in listeners:
            limit = settings.http_max_input_size
            infer = InferDoor(
                route,
                self._station,
                access,
                codes=codes,
                max_body_bytes=limit,
                limits=limits,
                forwarding=_forwarding(settings.http_header_forward_pattern),
            )
            rest = rest_app(manager, orders, health, max_body_bytes=limit, docs=settings.docs, **about)
            targets = Targets(longest_name=limits.name_length)
            short_way = partial(ShortWay, infer, targets, Heads(), self._connection_limits())
            app = HttpDoor(infer, rest, codes=codes, limits=limits)
            tasks.create_task(self._http(app, short_way, listeners["http"]), name="HTTP door")
        if "metrics" in listeners:
            shown = registry(
                (
                    TallyCollector(lambda: _measured(manager)),
                    ProcessCollector(lambda: access.dropped if access else 0),
                    *([MachineCollector()] if settings.allow_cpu_metrics else []),
                )
            )
            tasks.create_task(
                self._http(MetricsDoor(shown), "httptools", listeners["metrics"]), name="metrics door"
            )
        if "grpc" in listeners:
            forwarding = _forwarding(settings.grpc_header_forward_pattern)
            streams = InferStreams(
                route,
                self._station,
                access,
                self._closing,
                codes=codes,
                max_streams=settings.grpc_max_infer_streams,
                max_requests=settings.grpc_max_stream_requests,
                unread_s=settings.grpc_stream_unread_secs,
                limits=limits,
                forwarding=forwarding,
            )
            door = GrpcDoor(
                route,
                manager,
                orders,
                health,
                self._station,
                access,
                stream_infer=streams.answer,
                limits=limits,
                forwarding=forwarding,
                **about,
            )
            watched = HealthDoor(health, self._closing)
            transport = self._transport()
            front = self._grpc_front(route, access, codes, transport, limits, forwarding)
            tasks.create_task(
                self._grpc(door, streams, front, watched, transport, listeners["grpc"]),
                name="gRPC door",
            )

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            name_length=settings.max_name_length,
            id_length=settings.max_request_id_length,
            string_length=settings.max_string_parameter_length,
            parameters=settings.max_request_parameters,
            tensors=settings.max_request_tensors,
            elements=settings.max_tensor_elements,
            json_depth=settings.http_max_json_depth,
        )

    def _connection_limits(self) -> ConnectionLimits:
        settings = self._settings
        return ConnectionLimits(
            head_bytes=settings.http_max_header_bytes,
            headers=settings.http_max_headers,
            chunks=settings.http_max_chunks,
            connections=settings.http_max_connections,
            request_s=settings.http_request_timeout_secs,
        )

    def _grpc_front(
        self,
        route: Route,
        access: AccessLog | None,
        codes: Table,
        transport: Transport,
        limits: Limits,
        forwarding: HeaderForwarding | None,
    ) -> Any:
        """What answers `ModelInfer` before grpcio; None where grpcio does it all. The log says why."""
        try:
            from server.api.grpc_front import InferFront  # here: pygrpc-native is an extra

            installed = True
        except ImportError:
            installed = False
        chosen = choose(
            self._settings.grpc_front, installed=installed, need_grpcio=needs_grpcio(self._settings)
        )
        log.info("grpc_front", front=chosen.front, why=chosen.why)
        if chosen.front == "grpcio":
            return None
        return InferFront(
            route,
            self._station,
            access,
            codes=codes,
            transport=transport,
            max_message_bytes=self._settings.grpc_max_message_bytes,
            max_in_flight=self._settings.grpc_max_in_flight,
            limits=limits,
            forwarding=forwarding,
        )

    def _transport(self) -> Transport:
        settings = self._settings
        return Transport(
            max_concurrent_streams=settings.grpc_max_concurrent_streams,
            keepalive_time_ms=settings.grpc_keepalive_time,
            keepalive_timeout_ms=settings.grpc_keepalive_timeout,
            keepalive_without_calls=settings.grpc_keepalive_permit_without_calls,
            max_pings_without_data=settings.grpc_http2_max_pings_without_data,
            min_ping_interval_ms=settings.grpc_http2_min_recv_ping_interval_without_data,
            max_ping_strikes=settings.grpc_http2_max_ping_strikes,
            max_age_ms=settings.grpc_max_connection_age,
            max_age_grace_ms=settings.grpc_max_connection_age_grace,
            compression=settings.grpc_infer_response_compression_level,
        )

    async def _http(self, app: Any, protocol: Any, listener: socket.socket) -> None:
        await serve_http(
            app,
            protocol,
            listener,
            self._closing,
            keep_alive_s=self._settings.http_keep_alive_secs,
            finish_within_s=self._settings.exit_timeout_secs,
        )

    async def _grpc(
        self,
        door: GrpcDoor,
        streams: InferStreams,
        front: Any,
        health: HealthDoor,
        transport: Transport,
        listener: socket.socket,
    ) -> None:
        """Serve gRPC: by the fast front with grpcio behind it, or by grpcio alone where there is no front."""
        host, port = listener.getsockname()[:2]
        listener.close()  # it kept the port while the other parts were made; gRPC binds by itself
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        limits = {"finish_within_s": self._settings.exit_timeout_secs}
        largest = self._settings.grpc_max_message_bytes

        @asynccontextmanager
        async def behind(where: str) -> AsyncIterator[None]:
            async with grpcio_server(door, health, where, None, max_message_bytes=largest, **limits):
                yield
            await streams.passed_on()

        if front is not None:
            await front.serve(address, behind, self._closing, **limits)
        else:
            async with grpcio_server(door, health, address, transport, max_message_bytes=largest, **limits):
                await self._closing.wait()

    async def _greet(self, manager: Manager, orders: Orders, addresses: Addresses) -> None:
        """Once every model was tried: say what is served, and be ready."""
        await orders.begun.wait()
        await manager.all_settled()
        if self._settings.exit_on_error and not manager.ready(strict=True):
            raise StartRefused("a model failed to load, and --exit-on-error is on; the log says why")
        _spare_the_collector()
        self._station.move_to(Phase.SERVING)
        log.info("server_ready")
        shown = welcome(manager, addresses, self._settings.model_repository, docs=self._settings.docs)
        print(shown, flush=True)

    def _listen(self, parts: AsyncExitStack) -> dict[str, socket.socket]:
        """The sockets of the doors that are open. Raises `PortTaken`."""
        settings = self._settings
        metrics_address = settings.metrics_address or settings.http_address
        wanted = {
            "http": (settings.allow_http, settings.http_address, settings.http_port),
            "grpc": (settings.allow_grpc, settings.grpc_address, settings.grpc_port),
            "metrics": (settings.allow_metrics, metrics_address, settings.metrics_port),
        }
        listeners = {}
        for door, (is_open, address, port) in wanted.items():
            if is_open:
                listeners[door] = bind(address, port)
                parts.callback(listeners[door].close)
        return listeners

    def _access_log(self, parts: AsyncExitStack) -> AccessLog | None:
        settings = self._settings
        if not settings.access_log:
            return None
        stream = sys.stderr
        if settings.log_file is not None:
            stream = parts.enter_context(settings.log_file.open("a", encoding="utf-8"))
        return parts.enter_context(AccessLog(stream))


def _forwarding(pattern: str) -> HeaderForwarding | None:
    return HeaderForwarding(pattern) if pattern else None


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


def _measured(manager: Manager) -> Sequence[Measured]:
    return [
        Measured(facts.model, str(facts.version), facts.config.metric_tags, facts.tally)
        for facts in manager.all_facts()
    ]


def _leaves(failure: BaseException) -> Iterator[BaseException]:
    """The exceptions themselves, out of their groups."""
    if isinstance(failure, BaseExceptionGroup):
        for inner in failure.exceptions:
            yield from _leaves(inner)
    else:
        yield failure
