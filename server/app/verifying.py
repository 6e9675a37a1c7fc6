"""The command `tercet verify`: what a server would find of a model or a repository, without a server."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import structlog

from runtimes.device import installed_version
from server.app.command import CommandFailed
from server.app.written_config import config_text
from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.ending import MIB, Limits
from server.lifecycle.memory import memory_limit
from server.lifecycle.trials import Trials
from server.lifecycle.verdict import Verdict
from server.lifecycle.verdicts import Verdicts
from server.observe.banner import Question, curl_json
from server.repository.candidate import Candidate
from server.repository.configuration import read_text
from server.repository.container import Incomplete
from server.repository.invalid import ConfigInvalid
from server.repository.onnx_header import read_header
from server.repository.settling import Moment
from server.repository.snapshot import model_names, version_of

TIMEOUT_S = 300.0
CONFIG = "config.pbtxt"
URL = "http://localhost:8000"
LONGEST_QUESTION = 64
"""Elements of a request that is shown as a command."""

PACKAGES = {".onnx": ("onnxruntime", "onnxruntime-gpu"), ".pt": ("torch",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is found of one version, or of a model that has none to serve: then `version` is None.

    file      the model file in words: its format and who wrote it
    runtime   the package that would run it, with its version
    config    the config.pbtxt that says what was found
    curl      a command that asks it, where a short one can
    """

    model: str
    version: int | None = None
    reason: str = ""
    file: str = ""
    runtime: str = ""
    verdict: Verdict = field(default_factory=Verdict)
    unused_fields: tuple[str, ...] = ()
    config: str = ""
    curl: str = ""

    @property
    def good(self) -> bool:
        return not self.reason


def limits(timeout_s: float = TIMEOUT_S, memory_bytes: int = 0) -> Limits:
    """Of each trial; without bytes, half of what there is."""
    return Limits(timeout_s=timeout_s, memory_bytes=memory_bytes or memory_limit() // 2)


def verify(directory: Path, each: Limits, *, as_json: bool) -> int:
    """Print what is found; the exit code. Raises `CommandFailed` where there is nothing to verify."""
    with trials_of(each) as trials:
        reports = asyncio.run(reports_of(directory, trials))
    if not reports:
        raise CommandFailed(f"{directory} holds no model: a folder with version folders 1, 2 or so on")
    if as_json:
        print(json.dumps([_as_json(report) for report in reports], indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(report_text(report) for report in reports))
    return 0 if all(report.good for report in reports) else 1


async def reports_of(directory: Path, trials: Trials) -> list[Report]:
    """On each version that a server would serve, in order."""
    return [report async for report in _reports(directory, trials)]


@contextmanager
def trials_of(each: Limits, *, wants_example: bool = False) -> Iterator[Trials]:
    """Trials that remember nothing from before, one at a time, so that none disturbs the times of another."""
    trials = Trials(Verdicts(), limits=each, at_once=1, wants_example=wants_example)
    with only_faults_logged():
        try:
            yield trials
        finally:
            trials.close()


async def _reports(directory: Path, trials: Trials) -> AsyncIterator[Report]:
    for name, folder in _folders(directory).items():
        offer, unused = await asyncio.to_thread(_offer, name, folder)
        if offer is None or offer.problem or not (offer.versions or offer.broken):
            reason = offer.problem if offer is not None else ""
            yield Report(model=name, reason=reason or "holds no version that could be served")
            continue
        for version in sorted(offer.versions.keys() | offer.broken.keys()):
            if version in offer.broken:
                yield Report(model=name, version=version, reason=offer.broken[version])
                continue
            one = offer.versions[version]
            if one.model_file is None:
                yield Report(model=name, version=version, file=_without_file(one, offer.config))
                continue
            yield replace(
                _report(offer, one, one.model_file, await trials.verdict(offer, one)), unused_fields=unused
            )


def _folders(directory: Path) -> Mapping[str, Path]:
    """The model's folder, if it is one; else those of the models in it."""
    try:
        inside = list(directory.iterdir())
    except OSError as error:
        raise CommandFailed(f"{directory} cannot be read: {error.strerror}") from None
    if any(path.name == CONFIG or version_of(path.name) is not None for path in inside):
        whole = directory.resolve()
        return {whole.name: whole}
    return {name: directory / name for name in sorted(model_names(directory))}


def _offer(name: str, folder: Path) -> tuple[ModelOffer | None, tuple[str, ...]]:
    """What the repository would offer of it, and the fields of its configuration that nothing acts on."""
    look = Candidate(name, folder, "", 0.0).look(Moment(time.monotonic(), time.time()))
    try:
        unused = read_text((folder / CONFIG).read_bytes(), name, CONFIG).unread
    except (OSError, ConfigInvalid):  # there is none, or the offer says what is wrong with it
        unused = ()
    return look.offer, tuple(unused)


@contextmanager
def only_faults_logged() -> Iterator[None]:
    """What a report says need not be logged, too."""

    def sift(_: object, level: str, event: Any) -> Any:
        if level not in ("error", "critical"):
            raise structlog.DropEvent
        return event

    before = structlog.get_config()
    structlog.configure(
        processors=[sift, structlog.processors.KeyValueRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _report(offer: ModelOffer, version: VersionOffer, file: Path, verdict: Verdict) -> Report:
    return Report(
        model=offer.name,
        version=version.version,
        reason=verdict.reason,
        file=_file(file),
        runtime=_runtime(file),
        verdict=verdict,
        config=config_text(verdict.described) if verdict.described else "",
        curl=_curl(offer.name, version, verdict),
    )


def _without_file(version: VersionOffer, config: ModelConfig | None) -> str:
    """What there is to say of a version that has no file to try."""
    if config is None or config.ensemble is None:
        return "code around a model on another server: a tier tries it when it loads it"
    examples = "; a server asks its golden examples over them" if version.examples else ""
    return f"an ensemble, which its members stand for{examples}"


def _file(path: Path) -> str:
    said = f"{path.name}, {_size(path.stat().st_size)}"
    if path.suffix == ".onnx":
        try:
            header = read_header(path)
        except (Incomplete, OSError):
            return said
        said += f", {header}" + (f", by {header.producer}" if header.producer else "")
    return said


def _runtime(path: Path) -> str:
    found = [
        f"{package} {number}"
        for package in PACKAGES.get(path.suffix, ())
        if (number := installed_version(package)) is not None
    ]
    return " and ".join(found) or "the runtime is not installed"


def _curl(model: str, version: VersionOffer, verdict: Verdict) -> str:
    """From a golden example, as it is written; else with a one in every place."""
    for path in version.examples:
        try:
            inputs = json.loads(path.read_bytes())["request"]["inputs"]
            if sum(len(tensor["data"]) for tensor in inputs) <= LONGEST_QUESTION:
                return curl_json(URL, Question(model=model, inputs=inputs))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    tensors = [_ones(tensor) for tensor in verdict.described.get("client_inputs", ())]
    if not tensors or sum(len(tensor["data"]) for tensor in tensors) > LONGEST_QUESTION:
        return ""
    return curl_json(URL, Question(model=model, inputs=tensors))


def _ones(tensor: Mapping[str, Any]) -> dict[str, Any]:
    shape = [1 if size < 0 else size for size in tensor["shape"]]
    count = 1
    for size in shape:
        count *= size
    one: Any = {"BYTES": "text", "BOOL": True}.get(tensor["datatype"], 1)
    return {**tensor, "shape": shape, "data": [one] * min(count, LONGEST_QUESTION + 1)}


def _as_json(report: Report) -> dict[str, Any]:
    values = {each.name: getattr(report, each.name) for each in fields(report)}
    values |= {"good": report.good, **report.verdict.to_json(), "reason": report.reason}
    del values["verdict"], values["lasting"], values["may_pass"]
    return values


def report_text(report: Report) -> str:
    """For people: a head line, then what was found, indented."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    version = "" if report.version is None else f" version {report.version}"
    yield f"{report.model}{version}: {'good' if report.good else f'NOT GOOD: {report.reason}'}"
    verdict = report.verdict
    facts = {
        "file": report.file,
        "runtime": report.runtime,
        "checked": "; ".join(verdict.checked),
        "memory": _memory(verdict),
        "run time": ", ".join(_run_time(rows, each) for rows, each in verdict.run_seconds.items()),
        "not used": ", ".join(report.unused_fields),
    }
    yield from (f"  {name:<9} {said}" for name, said in facts.items() if said)
    yield from (f"  {'doubt':<9} {doubt}" for doubt in verdict.doubts)
    for name, text in (("config.pbtxt with what was found:", report.config), ("ask it:", report.curl)):
        if report.good and text:
            yield f"  {name}"
            yield from (f"    {line}" for line in text.splitlines())


def _memory(verdict: Verdict) -> str:
    if not verdict.peak_bytes:
        return ""
    return (
        f"{_size(verdict.loaded_bytes)} once loaded, {_size(verdict.run_bytes)} more for a run, "
        f"{_size(verdict.peak_bytes)} at most"
    )


def _size(count: int) -> str:
    return f"{count / MIB:,.1f} MiB" if count >= MIB else f"{count / 1024:.1f} KiB"


def _run_time(rows: int, seconds: float) -> str:
    return f"{rows} row{'s' if rows > 1 else ''} {seconds * 1000:.3g} ms"
