"""The command `tercet init`: a model's folder, made from its file.

Nothing is ever overwritten. The folder is made aside, under a hidden name that no server looks at, and
moved to its place whole: a server that follows the repository takes it up at once.
"""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.app.command import CommandFailed, UsageError
from server.app.verifying import Report, limits, report_text, reports_of, trials_of
from server.app.written_config import config_text
from server.lifecycle.trials import Trials
from server.repository.container import Incomplete, external_files

SUFFIXES = (".onnx", ".pt", ".pth")
EXAMPLE = "made_up.json"
BATCHING = "max_batch_size: 4\ndynamic_batching { }\n"
"""What a server takes where nothing is said and the first dimension is open."""


def init(model_file: Path, repository: Path, name: str, inputs: Sequence[str]) -> int:
    """Print what was made; the exit code. `inputs` are NAME:TYPE:DIMS, for a file that does not say."""
    if model_file.suffix not in SUFFIXES:
        raise UsageError(f"{model_file} is no .onnx and no .pt file")
    if not model_file.is_file():
        raise CommandFailed(f"there is no file {model_file}")
    name = name or _name_of(model_file)
    if name.startswith(".") or "/" in name or name.isdecimal():
        raise UsageError(f"{name!r} cannot be the name of a model's folder; choose one with --name")
    target = repository / name
    if target.exists():
        raise CommandFailed(
            f"{target} is there already, and is left as it is; choose another name with --name"
        )
    aside = repository / f".{name}.making"
    try:
        aside.mkdir(parents=True)
    except FileExistsError:
        raise CommandFailed(f"{aside} is there: is another `tercet init` at it? If not, remove it") from None
    try:
        report = asyncio.run(_make(model_file, aside / name, inputs))
        if target.exists():
            raise CommandFailed(f"{target} has come up in the meantime, and is left as it is")
        (aside / name).rename(target)
    finally:
        shutil.rmtree(aside)
    made = sorted(str(path) for path in target.rglob("*") if path.is_file())
    print("\n".join(["made", *(f"  {path}" for path in made), "", report_text(report)]))
    return 0


async def _make(model_file: Path, folder: Path, inputs: Sequence[str]) -> Report:
    version = folder / "1"
    version.mkdir(parents=True)
    _copy(model_file, version)
    with trials_of(limits(), wants_example=True) as trials:
        found = await _found(folder, inputs, trials)
        described: dict[str, Any] = dict(found.verdict.described)
        example = described.pop("example", None)
        (folder / "config.pbtxt").write_text(config_text(described, origin=found.file), encoding="utf-8")
        if example is not None:
            (version / "examples").mkdir()
            text = json.dumps(example, indent=1, ensure_ascii=False)
            (version / "examples" / EXAMPLE).write_text(text + "\n", encoding="utf-8")
        (made,) = await reports_of(folder, trials)
        _check(made)
        return made


async def _found(folder: Path, inputs: Sequence[str], trials: Trials) -> Report:
    """What the file is; where `inputs` are declared, in rows if it takes them so. Raises `CommandFailed`."""
    declared = f"input [ {', '.join(map(_declared, inputs))} ]\n"
    for config in (BATCHING + declared, declared) if inputs else ("",):
        if config:
            (folder / "config.pbtxt").write_text(config, encoding="utf-8")
        (report,) = await reports_of(folder, trials)
        if report.good:
            break
    _check(report)
    return report


def _check(report: Report) -> None:
    if not report.good:
        raise CommandFailed(
            f"nothing was made, as a server would not serve it: {report.reason}{_hint(report)}"
        )


def _hint(report: Report) -> str:
    if "does not say what shapes" not in report.reason:
        return ""
    return (
        "\nname its inputs with --input NAME:TYPE:DIMS, such as --input x:FP32:3,224,224 for rows of images"
    )


def _copy(model_file: Path, version: Path) -> None:
    """The file under its usual name, and the files beside it that hold its weights."""
    suffix = ".pt" if model_file.suffix == ".pth" else model_file.suffix
    shutil.copyfile(model_file, version / f"model{suffix}")
    if suffix != ".onnx":
        return
    try:
        beside = external_files(model_file)
    except Incomplete as error:
        raise CommandFailed(f"{model_file} is not all there: {error}") from None
    for name in beside:
        source, copy = model_file.parent / name, version / name
        if not copy.resolve().is_relative_to(version.resolve()):
            raise CommandFailed(f"{model_file} keeps weights in {name}, which is not beside it")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        except OSError as error:
            raise CommandFailed(
                f"{source}, which holds its weights, cannot be read: {error.strerror}"
            ) from None


def _name_of(model_file: Path) -> str:
    """The file's own, or its folder's where it has the name that every model file has."""
    return model_file.resolve().parent.name if model_file.stem == "model" else model_file.stem


def _declared(written: str) -> str:
    name, datatype, dims = (*written.rsplit(":", 2), "", "")[:3]
    if not (name and datatype and all(size.removeprefix("-").isdecimal() for size in dims.split(","))):
        raise UsageError(f"--input {written}: must be NAME:TYPE:DIMS, such as x:FP32:3,224,224")
    kind = "STRING" if datatype == "BYTES" else datatype
    return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] }}'
