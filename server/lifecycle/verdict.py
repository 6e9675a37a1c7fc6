"""What a trial found of one version: a frozen value that outlives the process, and how it is told apart.

A verdict belongs to content, not to a folder: the fingerprints of a model's configuration and of its
version's files, the runtimes that are installed, and the way in which Tercet verifies. Whichever of
these changes, the old verdict is simply not found.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

from runtimes.device import installed_version
from server.domain.offer import ModelOffer, VersionOffer

VERIFICATION = 4
"""Raised whenever a trial asks more of a candidate, or judges or measures it otherwise, than before."""

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "torch", "numpy")

NOTHING: Mapping[str, Any] = MappingProxyType({})
NO_RUNS: Mapping[int, float] = MappingProxyType({})


class VerdictUnreadable(Exception):
    """A text that is no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a trial.

    reason        why the version is not to serve, as a sentence; empty for one that may
    lasting       whether the same content would come out the same way again: not so where a limit, the
                  machine, or the version's own Python code had a part in the rejection
    may_pass      whether the machine was to blame, so that trying again by itself may help; never lasting
    checked       what was asked and answered rightly, in order
    doubts        what is no reason to reject, and what could not be asked, as sentences
    load_seconds  from its files to a session that can run
    loaded_bytes  memory of its own that it takes once loaded, and its files that stay mapped; not what the
                  first model of a process costs, whichever it is
    run_bytes     what its runs took beyond that, at most: the largest batch tried, by one run at a time;
                  without pages of libraries
    peak_bytes    the most that the trial took: load, examples and the largest batch tried
    run_seconds   rows of one run -> the shortest of some runs, on one thread of a process of low priority
    described     what the loader found: platform, max_batch_size, inputs, outputs and the like
    """

    reason: str = ""
    lasting: bool = True
    may_pass: bool = False
    checked: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    load_seconds: float = 0.0
    loaded_bytes: int = 0
    run_bytes: int = 0
    peak_bytes: int = 0
    run_seconds: Mapping[int, float] = field(default_factory=lambda: NO_RUNS)
    described: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def good(self) -> bool:
        return not self.reason

    def to_json(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["run_seconds"] = {str(rows): seconds for rows, seconds in self.run_seconds.items()}
        values["described"] = dict(self.described)
        return values

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises `VerdictUnreadable`: what lies on a disk, or comes out of a trial, may be anything."""
        if type(values) is not dict or values.keys() != {each.name for each in fields(cls)}:
            raise VerdictUnreadable("it has not the fields of a verdict")
        try:
            return cls(
                reason=_is(str, values["reason"]),
                lasting=_is(bool, values["lasting"]),
                may_pass=_is(bool, values["may_pass"]),
                checked=tuple(_is(str, each) for each in _is(list, values["checked"])),
                doubts=tuple(_is(str, each) for each in _is(list, values["doubts"])),
                load_seconds=float(values["load_seconds"]),
                loaded_bytes=_is(int, values["loaded_bytes"]),
                run_bytes=_is(int, values["run_bytes"]),
                peak_bytes=_is(int, values["peak_bytes"]),
                run_seconds={int(rows): float(s) for rows, s in _is(dict, values["run_seconds"]).items()},
                described=_is(dict, values["described"]),
            )
        except (TypeError, ValueError) as error:
            raise VerdictUnreadable(str(error)) from None


def _is(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} stands where a {kind.__name__} is to be")
    return value


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a verdict hangs on besides the content of the files.

    auto_complete   whether the loader fills in what a configuration leaves open
    """

    python: str
    runtimes: tuple[tuple[str, str], ...]
    auto_complete: bool
    verification: int = VERIFICATION


def surroundings(auto_complete: bool) -> Surroundings:
    """Those of this process; reads the names of what is installed, and imports nothing."""
    return Surroundings(
        platform.python_version(),
        tuple((package, installed_version(package) or "") for package in RUNTIMES),
        auto_complete,
    )


def key(offer: ModelOffer, version: VersionOffer, around: Surroundings) -> str:
    """The name under which a verdict is kept: 64 hexadecimal digits."""
    configured = offer.fingerprint_but_instances or offer.fingerprint  # a trial has instances of its own
    told: list[Any] = [configured, version.fingerprint, asdict(around)]
    if version.part is not None:  # a verdict on one stage is none on the others
        told.append(version.part)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def depends_on_its_own_code(version: VersionOffer) -> bool:
    """Whether Python code of the version runs: what that does may hang on anything outside its folder."""
    file = version.model_file
    is_python = file is not None and file.suffix == ".py"
    return version.loads("pre") or version.loads("post") or (is_python and version.loads("predict"))
