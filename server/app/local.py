"""What a process with models of its own is made of: the fused server, and each tier but the gateway.

A tier has its own part of every version (`server.lifecycle.parts`), answers other tiers, and tells them what
it has.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

from runtimes.processors import read_cpu, thread_budget
from runtimes.worker.crashes import CrashRule
from runtimes.worker.worker import WorkerLimits
from runtimes.worker.workers import Workers
from server.api.counted import Counted
from server.api.grpc_server import Service
from server.api.stage_door import StageDoor
from server.api.tier_door import TierDoor
from server.app.ahead import tiers_ahead
from server.app.doors import Behind
from server.app.lone_model import named
from server.app.memory_budgets import residency_rules
from server.app.mirrors import Mirrors, open_mirrors
from server.app.orders import Orders
from server.app.refused import StartRefused
from server.app.remembering import histories_of, labels_kept, prepared_models
from server.app.trials import trials
from server.domain.health import Health
from server.domain.phase import Phase, Station
from server.domain.stage import StageName
from server.lifecycle.events import Chronicle
from server.lifecycle.examination import Examination
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.parts import Parts
from server.lifecycle.standbys import Policy
from server.lifecycle.table import Table
from server.observe.copies import Copies, CopyCollector
from server.observe.metrics import MemoryCollector, MirrorCollector, ResidencyCollector
from server.observe.targets import TargetCollector
from server.observe.tiers import TierCollector
from server.observe.tracing.tracer import Tracer
from server.repository.content import holds
from server.repository.scanner import Scanner
from server.repository.seal import Demand
from server.repository.selection import Selection
from server.repository.signature import KeyUnusable, read_public_key
from server.scheduling.resources import Limit, Resources
from server.scheduling.turns import Turns
from server.settings import Role, Settings
from server.stages.hop.onward import Onward
from server.stages.hop.tier import Tier
from server.stages.pool import Pool
from server.stages.route import Route
from server.tiers.directory import Directory
from server.tiers.lingering import Lingering
from server.tiers.measured import measured
from server.tiers.report import Reports

STAGES: Mapping[Role, StageName] = {"pre": "pre", "predict": "predict", "post": "post"}
"""The one stage that a process of this role does."""


class Local:
    """Answers `server.app.models.Models`; opened by `local_models`."""

    def __init__(
        self,
        manager: Manager,
        mirrors: Mirrors,
        orders: Orders,
        reports: Reports,
        lingering: Lingering,
        behind: Behind,
        station: Station,
        leaving: asyncio.Event,
    ) -> None:
        self._manager = manager
        self._mirrors = mirrors
        self._orders = orders
        self._reports = reports
        self._lingering = lingering
        self._station = station
        self._leaving = leaving
        self._tasks: list[asyncio.Task[None]] = []
        self.behind = behind

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = [
            tasks.create_task(self._mirrors.follow(), name="remote repositories"),
            tasks.create_task(self._orders.follow(), name="repository"),
            tasks.create_task(self._reports.run(), name="reports"),
            tasks.create_task(self._lingering.run(self._orders.again), name="lingering"),
        ]

    async def settled(self) -> None:
        await self._orders.begun.wait()
        await self._manager.all_settled()

    def all_serve(self) -> bool:
        return self._manager.ready(strict=True)

    def moved(self) -> None:
        """Other processes hear at once that this one is to leave, and may look for who comes in its place:
        they need none of the time that balancers are given to notice it.
        """
        if self._station.phase >= Phase.LEAVING:
            self._reports.end()
            self._leaving.set()
        else:
            self._reports.look()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def local_models(settings: Settings, station: Station, tracer: Tracer | None) -> AsyncIterator[Local]:
    """The models of this process, until the block is left: then what is loaded is retired."""
    leaving = asyncio.Event()
    stage = STAGES.get(settings.role)
    async with AsyncExitStack() as parts:
        workers = _workers(settings)
        parts.callback(workers.close)
        histories = await parts.enter_async_context(histories_of(settings))
        events = Chronicle()
        copies = Copies()
        events.heard_by(histories.hear)
        pool = Pool(settings.stage_threads, settings.stage_queue_size)
        parts.callback(pool.close)
        directory, forwarding = tiers_ahead(settings, copies)
        await parts.enter_async_context(_known(directory))
        onward = Onward(forwarding) if settings.predict_endpoints else None
        table = Table()
        route = Route(table, pool, onward)
        manager = await parts.enter_async_context(
            _manager(settings, workers, events, copies, station, table, route)
        )
        lingering = Lingering(manager.ready_versions, monotonic)
        reports = Reports(stage, manager.table, station, lingering.lingers, manager.taken_back)
        mirrors = parts.enter_context(open_mirrors(settings, manager))
        folders = [
            parts.enter_context(named(place, settings.model_name))
            if isinstance(place, Path)
            else mirrors.folder_of(place)
            for place in settings.model_repository
        ]
        orders = parts.enter_context(
            _orders(settings, folders, manager, mirrors, Parts(stage), reports, lingering)
        )
        statistics = Counted(manager)
        as_stage: StageName = stage or "predict"
        tier = Tier(
            as_stage,
            manager.table,
            route,
            forwarding,
            station,
            max_in_flight=settings.grpc_max_in_flight,
            tracer=tracer,
        )
        services: Sequence[Service] = (
            StageDoor(
                tier,
                leaving,
                finish_within_s=settings.drain_grace_secs + settings.exit_timeout_secs,
                copies=copies,
            ),
            TierDoor(as_stage, reports, orders, statistics, lingering.hold, manager.take_back),
        )
        strict = settings.strict_readiness
        behind = Behind(
            route=route,
            catalogue=manager,
            control=orders,
            schedules=manager.schedules,
            statistics=statistics,
            labels=manager.labels,
            history_of=lambda model: histories.of(model, manager.table),
            events=events,
            health=Health(station, lambda: manager.ready(strict)),
            collectors=[
                MirrorCollector(mirrors.measured),
                ResidencyCollector(manager.residence.tally),
                MemoryCollector(manager.residence.stays.picture),
                TargetCollector(manager.schedules.targets_s),
                TierCollector(lambda: measured(directory), lambda: forwarding.hedges.counts),
                CopyCollector(copies),
            ],
            services=services,
        )
        yield Local(manager, mirrors, orders, reports, lingering, behind, station, leaving)


@asynccontextmanager
async def _known(directory: Directory) -> AsyncIterator[None]:
    """Have it know the tiers that this process hands on to, until the block is left."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(directory.run(), name="tiers ahead")
        try:
            yield
        finally:
            running.cancel()


def _manager(
    settings: Settings,
    workers: Workers,
    events: Chronicle,
    copies: Copies,
    station: Station,
    table: Table,
    route: Route,
) -> Manager:
    """The models of `table`, which `route` leads to."""
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
        workers=workers,
        copies=copies,
    )
    return Manager(
        loader,
        load_threads=settings.model_load_thread_count,
        retries=settings.model_load_retry_count,
        retire_within_s=settings.exit_timeout_secs,
        max_in_flight=settings.max_queue_size,
        trials=trials(settings) if settings.verify_models else None,
        quarantine_s=settings.runtime_worker_quarantine_secs,
        rules=residency_rules(settings),
        same_content=holds,
        prepared=prepared_models(settings),
        events=events,
        rollback=Policy(window_s=settings.rollback_window_secs, is_on=settings.rollback),
        labels_kept=labels_kept(settings),
        is_serving=lambda: station.phase is not Phase.STARTING,
        table=table,
        examination=_examination(settings, route),
    )


def _examination(settings: Settings, route: Route) -> Examination | None:
    return Examination(route.infer, settings.verify_timeout_secs) if settings.verify_models else None


def _workers(settings: Settings) -> Workers:
    return Workers(
        settings.runtime_workers,
        WorkerLimits(
            run_s=settings.runtime_worker_run_secs,
            slab_bytes=settings.runtime_worker_shared_bytes,
            crashes=CrashRule(most=settings.runtime_worker_max_crashes),
        ),
    )


def _orders(
    settings: Settings,
    folders: Sequence[Path],
    manager: Manager,
    mirrors: Mirrors,
    parts: Parts,
    reports: Reports,
    lingering: Lingering,
) -> Orders:
    scanner = Scanner(
        folders,
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
        parts=parts,
        told=reports.learn,
        stretched=lingering.of if parts.stage is not None else lambda offers: offers,
    )


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
