"""Orders to the tiers, given at a gateway: each goes to all processes, and is done by all or is an error.

Loads and unloads are decided here, once, and so is whatever else comes to be an order (a rollback): processes
that carry one out ask nobody else. A process that is not there when an order comes hears nothing of it; what
it serves once it comes, its own control mode, repository and state folder say.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from protos import inference_pb2 as inference
from protos import stage_pb2 as pb
from protos.json_values import json_values
from server.domain.errors import LoadUnknown, ServingError, StatisticsUnknown, TierUnavailable
from server.domain.stage import StageName
from server.tiers.directory import Directory
from server.tiers.endpoint import LOST, Endpoint, why_lost
from server.tiers.gateway import Gateway
from server.tiers.statistics import summed
from server.wire.fault import error_of
from server.wire.statistics import model_statistics_message

log = structlog.get_logger(__name__)

CARRIED_OUT_WITHIN_S = 600.0
"""An order whose caller has no deadline of its own. A caller that leaves before takes its question along, and
what the tiers have begun goes on, as in any server."""

TOLD_WITHIN_S = 5.0
"""How long counting, and telling what has changed, may take."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order in one process; `error` is None where it was carried out."""

    stage: StageName
    address: str
    error: ServingError | None
    statistics: bytes = b""


def verdict(outcomes: Sequence[Outcome]) -> ServingError | None:
    """The one error of an order; None if it was carried out.

    A tier that knows nothing of a model has no part of it, as long as another tier has. Pure.
    """
    knows = {each.stage for each in outcomes if not isinstance(each.error, LoadUnknown)}
    failed = [each for each in outcomes if each.error is not None and (each.stage in knows or not knows)]
    if not failed:
        return None
    first = min(failed, key=lambda each: isinstance(each.error, LoadUnknown))
    assert first.error is not None
    if not knows:
        return first.error
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return told_by(first.error, f"the {first.stage} tier at {first.address}{others}")


def told_by(error: ServingError, whose: str) -> ServingError:
    """The same refusal with the name of whoever gave it."""
    told = type(error).__new__(type(error))
    told.__dict__.update(error.__dict__)
    told.args = (f"{whose}: {error}",)
    return told


class Orders:
    """Answers `server.domain.control.Control` and `server.api.counted.Statistics`."""

    def __init__(self, directory: Directory, gateway: Gateway) -> None:
        self._directory = directory
        self._gateway = gateway

    async def load(
        self, model: str, config: str | None, files: Mapping[str, bytes], version: int | None = None
    ) -> None:
        """Returns once what was loaded is live; an error where the tiers end up with different files."""
        order = pb.Load(model=model, config=config or "", files=files, version=version)
        await self._carry_out(model, pb.ControlRequest(load=order))
        self._gateway.check_live(model, version)

    async def unload(self, model: str, version: int | None = None, *, dependents: bool = False) -> None:
        order = pb.Unload(model=model, version=version, dependents=dependents)
        await self._carry_out(model, pb.ControlRequest(unload=order))

    async def of(self, model: str, version: str) -> dict[str, object]:
        """What the processes of the predict tier have counted, added up; of ensembles, what was counted here,
        and of all versions where servers that are not ours are the predict tier.

        A process that does not answer is left out, with a warning: its counts are lost with it anyway.
        """
        gateway = self._gateway
        named = [
            facts
            for facts in gateway.all_facts()
            if model in ("", facts.model) and version in ("", str(facts.version))
        ]
        if model and not named:
            raise StatisticsUnknown(model)
        counted = bool(self._directory.places("predict"))
        here = [facts for facts in named if facts.config.ensemble is not None or not counted]
        asked = pb.ControlRequest(statistics=pb.StatisticsOf(model=model, version=version))
        processes = self._processes(["predict"]) if len(here) < len(named) else []
        outcomes = await self._ask(asked, processes, TOLD_WITHIN_S)
        for each in outcomes:
            if each.error is not None and not isinstance(each.error, StatisticsUnknown):
                log.warning("statistics_lacking", address=each.address, why=str(each.error))
        parts = [inference.ModelStatisticsResponse.FromString(each.statistics) for each in outcomes]
        total = summed([*parts, model_statistics_message(here)])
        wanted = {(facts.model, str(facts.version)) for facts in named}
        told = json_values(total)
        told["model_stats"] = [
            each for each in told["model_stats"] if (each["name"], each["version"]) in wanted
        ]
        return told

    async def _carry_out(self, model: str, order: pb.ControlRequest) -> None:
        """Have all processes do it, and see what they have then. Raises what went wrong."""
        self._check_there(model)
        processes = self._processes(self._directory.tiers)
        outcomes = await self._ask(order, processes, CARRIED_OUT_WITHIN_S)
        await asyncio.gather(*(each.look_again(TOLD_WITHIN_S) for each in processes))
        self._gateway.look_now()
        error = verdict(outcomes)
        if error is not None:
            log.warning("order_failed", model=model, reason=str(error))
            raise error

    def _check_there(self, model: str) -> None:
        """Raises `TierUnavailable` where a tier that was named has nobody who could hear an order.

        A server that is not ours is given none: its models are its own operator's affair.
        """
        for stage in self._directory.tiers:
            if self._directory.places(stage) and not self._processes([stage]):
                why = "no endpoint of it answers, so nothing was ordered"
                raise TierUnavailable(stage, model, why, untouched=True)

    def _processes(self, stages: Collection[StageName]) -> list[Endpoint]:
        """Those in sight; one that has several addresses is asked once."""
        found: dict[str, Endpoint] = {}
        for each in self._directory.endpoints():
            if each.instance and each.stage in stages:
                found.setdefault(each.instance, each)
        return list(found.values())

    async def _ask(
        self, order: pb.ControlRequest, processes: Sequence[Endpoint], within_s: float
    ) -> list[Outcome]:
        return await asyncio.gather(*(_asked(order, each, within_s) for each in processes))


async def _asked(order: pb.ControlRequest, endpoint: Endpoint, within_s: float) -> Outcome:
    stage, address = endpoint.stage, endpoint.address
    try:
        reply = await endpoint.order(order, within_s)
    except LOST as failure:
        why = f"it was lost while it carried out an order ({why_lost(failure)})"
        model = getattr(getattr(order, order.WhichOneof("order") or "load"), "model", "")
        return Outcome(stage, address, TierUnavailable(stage, model, why))
    if reply.HasField("fault"):
        return Outcome(stage, address, error_of(reply.fault))
    return Outcome(stage, address, None, reply.statistics)
