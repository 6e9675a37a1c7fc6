"""What a gateway is made of: doors over what other processes do. It has no repository, and loads nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.app.ahead import tiers_ahead
from server.app.doors import Behind, versions_of
from server.app.models import Models
from server.app.remembering import histories_of, labels_kept
from server.domain.health import Health
from server.domain.labels import NO_PINS
from server.domain.phase import Station
from server.lifecycle.events import Chronicle
from server.lifecycle.labels import Labels
from server.observe.copies import Copies, CopyCollector
from server.observe.tiers import GatewayCollector, TierCollector
from server.settings import Settings
from server.stages.pool import Pool
from server.stages.route import Route
from server.tiers.gateway import Gateway
from server.tiers.measured import measured
from server.tiers.orders import Orders
from server.tiers.schedules import Schedules


class Tiers:
    """Answers `server.app.models.Models`; opened by `gateway_models`."""

    def __init__(self, gateway: Gateway, behind: Behind) -> None:
        self._gateway = gateway
        self.behind = behind

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """The directory runs for longer than the doors do, so it is none of these tasks."""

    async def settled(self) -> None:
        """Once each tier that was named has taken requests: until then the gateway says which has not."""
        await self._gateway.complete.wait()

    def all_serve(self) -> bool:
        return not self._gateway.not_ready(strict=True)

    def moved(self) -> None:
        """Nobody watches a gateway."""

    def stop(self) -> None:
        """It begins nothing by itself."""


@asynccontextmanager
async def gateway_models(
    settings: Settings, station: Station, closing: asyncio.Event
) -> AsyncIterator[Models]:
    """The tiers behind this gateway, until the block is left: then what is on its way is answered."""
    copies = Copies()
    directory, _ = tiers_ahead(settings, copies)
    events = Chronicle()
    gateway = Gateway(
        directory,
        max_waiting=settings.max_queue_size,
        max_in_flight=settings.max_queue_size,
        retire_within_s=settings.exit_timeout_secs,
        events=events,
    )
    histories = histories_of(settings)
    events.heard_by(histories.hear)
    orders = Orders(directory, gateway)
    pool = Pool(1, 1)
    strict = settings.strict_readiness
    behind = Behind(
        route=Route(gateway.table, pool),
        catalogue=gateway,
        control=orders,
        schedules=Schedules(gateway.table),
        statistics=orders,
        labels=Labels(gateway.table, events, lambda _: NO_PINS, labels_kept(settings)),
        history_of=lambda model: histories.of(model, gateway.table),
        events=events,
        health=Health(station, lambda: not gateway.not_ready(strict), lambda: gateway.not_ready(strict)),
        collectors=[
            TierCollector(lambda: measured(directory), lambda: gateway.hedges.counts),
            GatewayCollector(lambda: versions_of(gateway), lambda: gateway.retries),
            CopyCollector(copies),
        ],
    )
    try:
        async with asyncio.TaskGroup() as group:
            knowing = group.create_task(directory.run(gateway.look), name="tiers")
            holding = group.create_task(gateway.hold(), name="held versions")
            async with histories, gateway:
                yield Tiers(gateway, behind)
            knowing.cancel()
            holding.cancel()
    finally:
        pool.close()
