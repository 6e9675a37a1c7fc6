"""The processes of the other tiers: which there are, and which of them could answer for a version.

Static addresses are there from the start; a name is looked up now and then, and at once when one of its
processes is lost. Answers `server.stages.hop.endpoints.Endpoints` out of a table that is made anew where a
report changes something, as it is asked for every bundle.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from random import uniform

import structlog

from server.domain.stage import STAGES, StageName
from server.stages.hop.channels import PLAIN, Channels
from server.stages.hop.link import Link
from server.stages.hop.parcel import Carrier
from server.tiers.endpoint import Endpoint
from server.tiers.foreign import ForeignServer
from server.tiers.live import Key, Standing, able
from server.tiers.place import LookUp, Place, look_up

log = structlog.get_logger(__name__)

LOOK_UP_EVERY_S = 5.0
SOONEST_S = 0.25
"""Between two look-ups, whatever is lost."""

LEAVES_WITHIN_S = 30.0
"""A process that its name has no more finishes what it has; then its link is cut."""

Changed = Callable[[Collection[tuple[str, int | None]]], None]


def _nobody(_: object) -> None:
    pass


class Directory:
    """Lives on the event loop. `run` owns every task of it, and ends when it is cancelled."""

    def __init__(
        self,
        places: Mapping[StageName, Sequence[Place]],
        *,
        name: str,
        link: Callable[..., Link],
        foreign: Sequence[Callable[..., ForeignServer]] = (),
        channels: Channels = PLAIN,
        look_up: LookUp = look_up,
        look_up_every_s: float = LOOK_UP_EVERY_S,
    ) -> None:
        """`name` is that of this process; `link` makes the link to an address and a stage.

        `foreign` make the servers that are none of ours, which are all of the predict tier. `channels` is how
        those that are ours are reached.
        """
        self._places = {stage: tuple(places[stage]) for stage in STAGES if places.get(stage)}
        self._name = name
        self._link = link
        self._channels = channels
        self._changed: Changed = _nobody
        self._look_up = look_up
        self._look_up_every_s = look_up_every_s
        self._found: dict[tuple[StageName, Place], frozenset[str]] = {
            (stage, place): frozenset() if place.is_name else frozenset({place.address})
            for stage, places in self._places.items()
            for place in places
        }
        self._endpoints: dict[tuple[StageName, str], Endpoint] = {}
        self._running: dict[tuple[StageName, str], asyncio.Task[None]] = {}
        self._ready: dict[tuple[StageName, str, int], dict[str, tuple[Link, ...]]] = {}
        self._lost = {place: asyncio.Event() for _, place in self._found}
        self._foreign = [make(changed=self._foreign_told) for make in foreign]
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def tiers(self) -> Collection[StageName]:
        """Those of which anybody has named endpoints."""
        return self._places.keys() | {each.stage for each in self._foreign}

    def places(self, stage: StageName) -> Sequence[Place]:
        return self._places.get(stage, ())

    def endpoints(self) -> Sequence[Endpoint]:
        """Those that are ours, by tier and address."""
        return [self._endpoints[key] for key in sorted(self._endpoints, key=_in_order)]

    def everyone(self) -> Sequence[Endpoint | ForeignServer]:
        return [*self.endpoints(), *self._foreign]

    def standings(self) -> list[Standing]:
        """What those in sight have said."""
        return [standing for each in self.everyone() for standing in each.standings]

    def ready(self, stage: StageName, model: str, version: int, content: str) -> Sequence[Carrier]:
        contents = self._ready.get((stage, model, version))
        links = () if contents is None else contents.get(content, ())
        if not self._foreign or stage != "predict":
            return links
        return [*links, *(each.link for each in self._foreign if each.link.answers(model, version))]

    async def run(self, changed: Changed = _nobody) -> None:
        """Know the tiers, until cancelled. `changed` hears which versions something else is said of than
        before; of none, where it is only another who is there.
        """
        self._changed = changed
        async with asyncio.TaskGroup() as self._tasks:
            for stage in self._places:
                self._fit(stage)
            for stage, place in self._found:
                if place.is_name:
                    self._tasks.create_task(self._follow(stage, place), name=f"look-up of {place}")
            for server in self._foreign:
                self._tasks.create_task(server.run(), name=f"watch of {server.address}")

    async def _follow(self, stage: StageName, place: Place) -> None:
        """Keep the addresses of a name up to date. What cannot be looked up stays as it was."""
        lost = self._lost[place]
        failed = ""
        while True:
            lost.clear()
            try:
                self._found[stage, place] = await self._look_up(place)
                failed = ""
            except (OSError, UnicodeError) as error:  # the latter for what cannot be a name
                why = str(error) or type(error).__name__
                if why != failed:
                    log.warning("tier_name_unknown", stage=stage, name=place.host, why=why)
                failed = why
            else:
                self._fit(stage)
            await asyncio.sleep(SOONEST_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(uniform(0.8, 1.2) * self._look_up_every_s):
                    await lost.wait()

    def _fit(self, stage: StageName) -> None:
        """Have an endpoint for each address that there is, and for no other."""
        assert self._tasks is not None
        wanted = {
            address: place.host
            for (each, place), found in self._found.items()
            if each == stage
            for address in found
        }
        for key in [key for key in self._endpoints if key[0] == stage and key[1] not in wanted]:
            endpoint = self._endpoints.pop(key)
            self._tasks.create_task(self._let_go(endpoint, self._running.pop(key)))
            self._told(endpoint, endpoint.keys())
        for address in wanted.keys() - {address for each, address in self._endpoints if each == stage}:
            endpoint = Endpoint(
                stage,
                address,
                link=self._link,
                name=self._name,
                told=self._told,
                host=wanted[address],
                channels=self._channels,
            )
            self._endpoints[stage, address] = endpoint
            self._running[stage, address] = self._tasks.create_task(endpoint.run())

    async def _let_go(self, endpoint: Endpoint, running: "asyncio.Task[None]") -> None:
        """What is on its way there may yet be answered."""
        log.info("tier_endpoint_gone", stage=endpoint.stage, address=endpoint.address)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVES_WITHIN_S):
                await endpoint.parted.wait()
        running.cancel()

    def _told(self, endpoint: Endpoint, keys: Collection[tuple[str, int | None]]) -> None:
        """An endpoint says something else of these versions."""
        for model, version in keys:
            if version is not None:
                self._point(endpoint.stage, (model, version))
        if not endpoint.instance:
            for (stage, place), found in self._found.items():
                if stage == endpoint.stage and endpoint.address in found:
                    self._lost[place].set()
        if self._foreign:
            keys = {*keys, *self._stand()}
        self._changed(keys)

    def _foreign_told(self) -> None:
        """A server that is not ours says something else."""
        self._changed(self._stand())

    def _stand(self) -> Collection[tuple[str, int | None]]:
        """Have those that are not ours stand behind what ours have by now; what they say or have said."""
        own = [standing for each in self.endpoints() for standing in each.standings]
        told = self._places.keys() <= {standing.stage for standing in own}
        others = [report for standing in own for report in standing.versions.values()]
        keys: set[tuple[str, int | None]] = set()
        for server in self._foreign:
            keys |= set(server.keys())
            server.stand(others if told else None)
            keys |= set(server.keys())
        return keys

    def _point(self, stage: StageName, key: Key) -> None:
        """Make anew who is ready for a version; those that have it in memory go before all others.

        One whose link is to be up again in a moment is named where there is no other.
        """
        by_content: dict[str, list[tuple[bool, Link]]] = {}
        for endpoint in self.endpoints():
            for standing in endpoint.standings if endpoint.stage == stage else ():
                report = standing.versions.get(key)
                if report is not None and able(standing, key, report.content):
                    by_content.setdefault(report.content, []).append((report.resident, endpoint.link))
        if by_content:
            self._ready[(stage, *key)] = {content: _best(links) for content, links in by_content.items()}
        else:
            self._ready.pop((stage, *key), None)


def _best(links: Sequence[tuple[bool, Link]]) -> tuple[Link, ...]:
    """Of links to processes that are resident or not."""
    up = [(resident, link) for resident, link in links if link.up] or links
    return tuple([link for resident, link in up if resident] or [link for _, link in up])


def _in_order(key: tuple[StageName, str]) -> tuple[int, str]:
    stage, address = key
    return STAGES.index(stage), address
