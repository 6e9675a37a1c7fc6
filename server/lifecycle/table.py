"""Who serves what, this instant: the one place where a request finds its version.

Changed on the event loop in single steps, so a request finds the old version or the new one and
never neither.
"""

from collections.abc import Callable, Iterator, Mapping

from server.domain.errors import InvalidRequest, ModelNotFound, ModelNotReady, ServingError, VersionMalformed
from server.domain.labels import NO_PINS, is_label
from server.domain.state import LEGAL, UNLOADED, IllegalMove, State, Status
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.served import Served

LONGEST_VERSION = 18
"""Digits, so that every version fits 64 bits."""


class Table:
    """Versions that serve, by model and version as callers write it: number or label; "" is the highest."""

    def __init__(self) -> None:
        self._serving: dict[tuple[str, str], Served] = {}
        self._versions: dict[str, dict[int, Served]] = {}
        self._statuses: dict[str, dict[int, Status]] = {}
        self._problems: dict[str, Status | None] = {}
        self._ensembles: set[str] = set()
        self._labels: dict[str, Mapping[str, int]] = {}
        self._changed: Callable[[str], object] = _nobody

    def watch(self, changed: Callable[[str], object]) -> None:
        """From now on `changed` is told the name of a model of which something is another than before."""
        self._changed = changed

    def find(self, model: str, version: str) -> Served:
        """Raises `ModelNotFound`, `ModelNotReady`, or `VersionMalformed` for what is no version."""
        served = self._serving.get((model, version))
        if served is None:
            return self._explain(model, version)
        return served

    def standing_for(self, found: Served) -> Served:
        """What stands now where something was found, if it is of the same content; else what was found."""
        facts = found.facts
        now = self.versions(facts.model).get(facts.version, found)
        return now if now.content == found.content else found

    def versions(self, model: str) -> Mapping[int, Served]:
        return self._versions.get(model, {})

    def ensembles(self) -> Iterator[EnsembleVersion]:
        """Every version of an ensemble that serves."""
        for model in self._ensembles:
            for served in self._versions[model].values():
                if isinstance(served, EnsembleVersion):
                    yield served

    def statuses(self, model: str) -> Mapping[int, Status]:
        return self._statuses.get(model, {})

    @property
    def models(self) -> list[str]:
        """Every name that is known, serving or not, in order."""
        return sorted(self._problems)

    def index(self) -> list[Status]:
        """A line per version once something was tried, else one per model."""
        lines: list[Status] = []
        for model in self.models:
            statuses = self._statuses.get(model)
            problem = self._problems[model]
            if statuses:
                lines.extend(statuses[version] for version in sorted(statuses))
            elif problem is not None:
                lines.append(problem)
            else:
                lines.append(Status(model, None, State.UNKNOWN))
        return lines

    def know(self, model: str, problem: Status | None = None) -> None:
        """The repository has this name; `problem` if it cannot be served as it stands."""
        self._problems[model] = problem
        self._changed(model)

    def problem(self, model: str) -> Status | None:
        return self._problems.get(model)

    def forget(self, model: str) -> None:
        """The repository has it no more, and none of its versions serves."""
        self._problems.pop(model, None)
        self._statuses.pop(model, None)
        self._changed(model)

    def note(self, status: Status) -> None:
        """What the index says of a version from now on. Raises `IllegalMove`."""
        assert status.version is not None
        known = self.statuses(status.model).get(status.version)
        before = known.state if known is not None else State.UNKNOWN
        if status.state not in LEGAL[before]:
            raise IllegalMove(f"{status.model} version {status.version}: {before} to {status.state}")
        self._problems.setdefault(status.model, None)
        self._statuses.setdefault(status.model, {})[status.version] = status
        self._changed(status.model)

    def drop(self, model: str, version: int) -> None:
        """The index has this version no more: its folder is gone."""
        self._statuses.get(model, {}).pop(version, None)
        self._changed(model)

    def serve(self, served: Served) -> Served | None:
        """From now on requests reach this version; the one it replaces comes back, to be retired."""
        facts = served.facts
        versions = self._versions.setdefault(facts.model, {})
        replaced = versions.get(facts.version)
        versions[facts.version] = served
        if isinstance(served, EnsembleVersion):
            self._ensembles.add(facts.model)
        self._point(facts.model)
        return replaced

    def withdraw(self, model: str, version: int) -> Served | None:
        """Requests reach this version no more; it comes back, to be retired."""
        versions = self._versions.get(model, {})
        served = versions.pop(version, None)
        if not versions:
            self._versions.pop(model, None)
            self._ensembles.discard(model)
        self._serving.pop((model, str(version)), None)
        self._point(model)
        return served

    def label(self, model: str, labels: Mapping[str, int]) -> None:
        """From now on the model has these labels, and no others. A label may be on what does not serve."""
        for label in self._labels.pop(model, NO_PINS):
            self._serving.pop((model, label), None)
        if labels:
            self._labels[model] = labels
        self._point(model)

    def _point(self, model: str) -> None:
        versions = self._versions.get(model, {})
        for version, served in versions.items():
            self._serving[(model, str(version))] = served
        if versions:
            self._serving[(model, "")] = versions[max(versions)]
        else:
            self._serving.pop((model, ""), None)
        for label, version in self._labels.get(model, NO_PINS).items():
            if version in versions:
                self._serving[(model, label)] = versions[version]
            else:
                self._serving.pop((model, label), None)
        self._changed(model)

    def _explain(self, model: str, version: str) -> Served:
        if model not in self._problems:
            raise ModelNotFound(model)
        statuses = self._statuses.get(model, {})
        if not version:
            loading = [status for status in statuses.values() if status.state is State.LOADING]
            if loading:
                raise ModelNotReady(f"model '{model}' is still loading version {loading[0].version}")
            raise ModelNotFound(model, "has no available versions")
        labels = self._labels.get(model, NO_PINS)
        if version in labels:
            raise self._left(model, version, labels[version])
        if labels and is_label(version):
            there_are = ", ".join(sorted(labels))
            raise ModelNotFound(model, f"version label '{version}' is not found; there are {there_are}")
        if not (version.isascii() and version.isdigit()):
            raise VersionMalformed(_malformed(model, version, "it is neither a number nor a label"))
        if len(version) > LONGEST_VERSION:
            raise InvalidRequest(_malformed(model, version, "it is out of range"))
        served = self._serving.get((model, str(int(version))))
        if served is not None:
            return served
        status = statuses.get(int(version))
        if status is None:
            raise ModelNotFound(model, f"version {version} is not found")
        if status.reason == UNLOADED:
            raise ModelNotFound(model, f"version {version} has been unloaded")
        raise ModelNotReady(
            f"model '{model}' version {version} is not at ready state: {status.state}"
            + (f" ({status.reason})" if status.reason else "")
        )

    def _left(self, model: str, label: str, version: int) -> ServingError:
        """Why a label leads nowhere: its version does not serve."""
        status = self.statuses(model).get(version)
        if status is None or status.reason == UNLOADED:
            return ModelNotFound(model, f"version label '{label}' is on version {version}, which has left")
        why = f" ({status.reason})" if status.reason else ""
        return ModelNotReady(
            f"model '{model}' version label '{label}' is on version {version}, which is not at ready state: "
            f"{status.state}{why}"
        )


def _nobody(_: str) -> None:
    """Nobody watches."""


def _malformed(model: str, version: str, fault: str) -> str:
    """Triton's sentence."""
    return (
        f"failed to get model version from specified version string '{version}' "
        f"(details: {fault}) for model '{model}'"
    )
