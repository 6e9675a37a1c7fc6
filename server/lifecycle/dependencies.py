"""Which models an ensemble needs, and what keeps it from serving without them.

Decided over what is offered and what serves at this moment; the manager acts on the answers.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from server.domain.configuration import ModelConfig
from server.domain.ensemble import Step
from server.domain.offer import Offers
from server.lifecycle.neighbours import misfit
from server.lifecycle.table import Table

NONE: frozenset[str] = frozenset()
Members = Mapping[str, frozenset[str]]
"""Ensemble -> the models of its steps. Other models are not in it."""


class Dependencies:
    """Who needs whom, by the last offers and by what serves. Lives on the event loop."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._members: Members = {}

    def learn(self, offers: Offers) -> None:
        """These are the offers from now on."""
        self._members = {name: needs for name, offer in offers.items() if (needs := members_of(offer.config))}

    @property
    def ensembles(self) -> Collection[str]:
        """By the last offers."""
        return self._members.keys()

    def members(self, model: str) -> frozenset[str]:
        """The models that an ensemble needs as it is offered; none of any other model."""
        return self._members.get(model, NONE)

    def over(self, models: Collection[str]) -> set[str]:
        """The ensembles that need one of these models, as they are offered or as they serve."""
        found = {name for name, needs in self._members.items() if not needs.isdisjoint(models)}
        serving = self._table.ensembles()
        return found | {one.facts.model for one in serving if not one.ensemble.members.isdisjoint(models)}

    def all_over(self, models: Collection[str]) -> set[str]:
        """The ensembles that need one of these models, and those that need these ensembles, and so on."""
        found: set[str] = set()
        while more := self.over({*models, *found}) - found:
            found |= more
        return found

    def circle(self, model: str) -> Sequence[str]:
        return circle(model, self._members)

    def hindrance(self, config: ModelConfig | None) -> str:
        """Why an ensemble cannot serve at this moment; empty if it can, or is no ensemble."""
        if config is None or config.ensemble is None:
            return ""
        around = circle(config.name, {**self._members, config.name: config.ensemble.members})
        if around:
            return f"circular dependency between ensembles: {' -> '.join(around)}"
        signatures = []
        for step in config.ensemble.steps:
            versions = self._table.versions(step.model)
            number = step.version if step.wanted else max(versions, default=0)
            if number not in versions:
                return lacking(config.name, step)
            signatures.append(versions[number].facts.signature)
        return misfit(config, signatures)


def members_of(config: ModelConfig | None) -> frozenset[str]:
    """The models of an ensemble's steps; none of any other model."""
    return config.ensemble.members if config is not None and config.ensemble is not None else NONE


def with_members(models: Iterable[str], offers: Offers) -> frozenset[str]:
    """These models, and all those that they are made of, as far as they are offered."""
    found: set[str] = set()
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model in offers and model not in found:
            found.add(model)
            waiting.extend(members_of(offers[model].config))
    return frozenset(found)


def circle(model: str, members: Members) -> Sequence[str]:
    """The shortest way by which an ensemble is made of itself, such as (a, b, a); empty if there is none."""
    ways: list[tuple[str, ...]] = [(model,)]
    seen: set[str] = set()
    while ways:
        longer: list[tuple[str, ...]] = []
        for way in ways:
            for member in sorted(members.get(way[-1], NONE)):
                if member == model:
                    return (*way, member)
                if member not in seen:
                    seen.add(member)
                    longer.append((*way, member))
        ways = longer
    return ()


def lacking(ensemble: str, step: Step) -> str:
    """What is said of a step whose model does not serve."""
    lacks = (
        f"whose required version {step.wanted} is not loaded"
        if step.wanted
        else "which has no loaded version"
    )
    return f"ensemble '{ensemble}' depends on '{step.model}', {lacks}"
