"""The command `tercet`: serve a model repository, ask a server that runs, and try or make models without one.

`main` takes the words of a command line and returns the exit code: 0; 1 if the work failed; 2 if the words
were wrong. What is wrong is said in sentences on stderr. `serve` is the command where none is named, so a
start script written for tritonserver needs another program's name only.

The options of `serve` are read here, not by typer or argparse: they are the fields of `Settings`, given as
`--name value`, `--name=value` or, for a flag, `--name` alone; beside them stand Triton's options that mean
nothing here. Neither library knows an option whose value may be missing in front of a positional argument.
The small commands are argparse's.

The server and its parts are imported where they are run: help and a table must not wait for torch.
"""

import argparse
import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

from server.app.asking import infer, models
from server.app.command import CommandFailed, UsageError
from server.app.following import events, label, versions
from server.repository.sealing import NothingToSeal, seal, write_index
from server.repository.signature import KeyUnusable
from server.settings import Settings, SettingsInvalid, nearest, options, read
from server.supervisor.words import USAGE as UP_USAGE
from server.supervisor.words import WordsInvalid, read_up

OVERVIEW = """\
usage: tercet COMMAND ...

  serve [REPO ...] [--option=value ...]   serve model repositories over HTTP and gRPC
  up [REPO ...] [--predict N ...]         serve them by several processes, and keep these running
  models                                  show the models of a running server
  infer MODEL                             ask a model of a running server
  versions MODEL                          show what became of a model's versions
  label MODEL [LABEL=VERSION ...]         show a model's labels, or put them on versions
  events                                  show what happened to models, or follow it
  verify DIR                              try a model's folder or a repository, without a server
  init FILE                               make a model's folder from an .onnx or .pt file
  manifest DIR                            write the checksums of versions beside them

`tercet COMMAND --help` has the rest. Options without a command are those of serve.
"""

SERVE_USAGE = """\
usage: tercet serve [REPO ...] [--option=value ...]

Serves the models in the folders REPO, and follows what changes in them (mode poll). A value is taken
from the command line, else from the environment, else from the settings file, else it is the default.
Below: option, environment variable, [default]. A flag may stand without its value.

Settings file:

  --settings, TERCET_SETTINGS
      a TOML file; its keys are the names below as in http_port = 8000
"""
TRITON_USAGE = "Triton's other options are accepted without effect, with one warning."

# Triton's options without a meaning here, from its command_line_parser.cc
IDLE_FLAGS = frozenset(
    """
    allow-client-shm allow-sagemaker allow-vertex-ai enable-peer-access
    model-namespacing
    """.split()  # noqa: SIM905
)
IDLE_VALUES = frozenset(
    """
    backend-config backend-directory buffer-manager-thread-count cache-config cache-directory
    cuda-memory-pool-byte-size cuda-virtual-address-size grpc-infer-allocation-pool-size
    grpc-infer-thread-count grpc-max-response-pool-size host-policy http-thread-count metrics-config
    metrics-interval-ms min-supported-compute-capability model-load-gpu-limit pinned-memory-pool-byte-size
    repoagent-directory response-cache-byte-size sagemaker-port sagemaker-safe-port-range
    sagemaker-thread-count trace-count trace-file trace-level trace-log-frequency trace-rate
    vertex-ai-default-model vertex-ai-port vertex-ai-thread-count
    """.split()  # noqa: SIM905
)
WIDEST = 110
INDENTED = TextWrapper(width=100, break_on_hyphens=False, initial_indent=" " * 6, subsequent_indent=" " * 6)
ALIASES = {"model-store": "model-repository", "strict-model-config": "disable-auto-complete-config"}
MOST_NAMED = 4
"""Options that a beginning of several may have meant: more of them are no help."""

YES, NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except (UsageError, CommandFailed) as error:
        for sentence in str(error).splitlines():
            print(f"tercet: {sentence}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    commands = {
        "serve": serve,
        "up": up,
        "models": models,
        "infer": infer,
        "versions": versions,
        "label": label,
        "events": events,
        "verify": verify,
        "init": init,
        "manifest": manifest,
    }
    match words:
        case [] | ["-h" | "--help"]:
            print(OVERVIEW, end="")
            return 0
        case ["--version"]:
            print(f"tercet {_version()}")
            return 0
        case [command, *rest] if command in commands:
            return commands[command](rest)
        case [option, *_] if option.startswith("-"):
            return serve(words)
        case _:
            known = f"{', '.join([*commands][:-1])} and {[*commands][-1]}"
            raise UsageError(f"there is no command {words[0]!r}: {known} are known")


def _version() -> str:
    try:
        return version("tercet")
    except PackageNotFoundError:
        return "(run from its source, not installed)"


# serve


def serve(words: Sequence[str]) -> int:
    """Run a server until it is told to stop, or fails."""
    asked = read_serve(words)
    if asked.help:
        print(_serve_help())
        return 0
    settings = _settings(asked)
    from server.app.process import serve  # here and not above: it brings torch, onnxruntime, fastapi and grpc

    return serve(settings)


def _settings(asked: "ServeWords", *, needs_models: bool = True) -> Settings:
    """Raises `UsageError`."""
    if asked.idle:
        names = ", ".join(dict.fromkeys(asked.idle))
        print(f"tercet: warning: these options of Triton have no effect here: {names}", file=sys.stderr)
    try:
        settings = read(asked.given, os.environ, asked.fallback)
    except SettingsInvalid as error:
        raise UsageError(str(error)) from None
    if needs_models and not settings.model_repository and settings.role != "gateway":
        raise UsageError("there is nothing to serve: name a model repository, as in `tercet serve REPO`")
    for place in settings.model_repository:
        if isinstance(place, Path) and not place.is_dir():
            raise UsageError(f"the model repository {place} is not a folder")
    return settings


@dataclass(slots=True)
class ServeWords:
    """What a command line of `serve` says.

    given      values by the name of their field; `settings` is the settings file's path
    fallback   what naming a repository without an option implies
    idle       the options of Triton that were given and mean nothing here
    """

    given: dict[str, Any] = field(default_factory=dict)
    fallback: dict[str, Any] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    help: bool = False


def read_serve(words: Sequence[str]) -> ServeWords:
    """Raises `UsageError` for an unknown option or a missing value; values themselves are not judged."""
    known = {option.flag.removeprefix("--"): option for option in options().values()}
    flags = {name for name, option in known.items() if option.is_flag} | IDLE_FLAGS
    idle = IDLE_FLAGS | IDLE_VALUES
    asked = ServeWords()
    waiting = deque(words)
    while waiting:
        word = waiting.popleft()
        if word in ("-h", "--help"):
            asked.help = True
        elif not word.startswith("-"):
            asked.given.setdefault("model_repository", []).append(word)
            asked.fallback["model_control_mode"] = "poll"
        else:
            written, equals, value = word.partition("=")
            called = _option_named(written, {*known, *idle, *ALIASES, "settings"})
            name = ALIASES.get(called, called)
            if not equals:
                value = _value_after(written, waiting, is_flag=name in flags, may_lack=name in idle)
            if name in idle:
                asked.idle.append(written)
            elif name in known and known[name].is_list:
                asked.given.setdefault(known[name].field, []).append(value)
            elif called in ALIASES:  # where the option itself stands beside it, that counts, as in Triton
                asked.given.setdefault(known[name].field, value)
            else:
                asked.given[name.replace("-", "_")] = value
    return asked


def _option_named(written: str, names: set[str]) -> str:
    """The option's name, as it is or by its alias; an unambiguous beginning will do, as for tritonserver."""
    name = written.removeprefix("--")
    begun = [candidate for candidate in names if candidate.startswith(name)]
    if name not in names and len(begun) == 1 and written.startswith("--"):
        name = begun[0]
    if name not in names or not written.startswith("--"):
        hint = nearest(name, names, prefix="--")
        if 1 < len(begun) <= MOST_NAMED:
            hint = "; did you mean " + " or ".join(f"--{each}" for each in sorted(begun)) + "?"
        raise UsageError(f"there is no option {written}{hint}\n`tercet serve --help` shows all options")
    return name


def _value_after(written: str, waiting: deque[str], *, is_flag: bool, may_lack: bool) -> str:
    following = waiting[0] if waiting else "--"
    if is_flag:
        return waiting.popleft() if following.lower() in YES | NO else "true"
    if not following.startswith("--"):
        return waiting.popleft()
    if may_lack:
        return ""
    raise UsageError(f"{written} needs a value")


def _serve_help() -> str:
    lines = [SERVE_USAGE]
    for group, members in groupby(options().values(), key=lambda option: option.group):
        lines.append(f"{group}:\n")
        for option in members:
            default = f" [{option.default}]" if option.default else ""
            allowed = "" if option.is_flag or option.allowed == "text" else f" ({option.allowed})"
            names = f"  {option.flag}, {option.variable}"
            fits = len(names + default) <= WIDEST
            lines.append(names + default if fits else names)
            lines.append(INDENTED.fill(option.help + allowed + ("" if fits else default)))
        lines.append("")
    lines.append(TRITON_USAGE)
    return "\n".join(lines)


# up


def up(words: Sequence[str]) -> int:
    """Run several processes as one server, or have those that run replaced."""
    try:
        own = read_up(words)
    except WordsInvalid as error:
        raise UsageError(str(error)) from None
    if own.help:
        print(UP_USAGE, end="")
        return 0
    asked = read_serve(own.rest)
    from server.app.supervising import roll_running, supervise

    if own.rolling_restart:
        return roll_running(own, _settings(asked, needs_models=False))
    settings = _settings(asked)
    return supervise(own, asked.given, bool(asked.fallback), settings)


# verify and init


def verify(words: Sequence[str]) -> int:
    """Try what a server would serve, and print what is found."""
    parser = argparse.ArgumentParser(
        prog="tercet verify",
        description="Try a model's folder, or every model of a repository, as a server does before it serves "
        "one: layout, configuration against the file, golden examples, batches against their rows. The exit "
        "code is 0 only if all is good.",
    )
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--json", action="store_true", help="print a JSON list, an object for each version")
    parser.add_argument(
        "--timeout", type=float, default=300, metavar="SECS", help="for each version; default: %(default)s"
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=0,
        metavar="BYTES",
        help="for each version; default: half of what there is",
    )
    asked = parser.parse_args(words)
    from server.app.verifying import limits, verify  # here and not above: it brings numpy and more

    return verify(asked.directory, limits(asked.timeout, asked.memory), as_json=asked.json)


def init(words: Sequence[str]) -> int:
    """Make a model's folder from its file."""
    parser = argparse.ArgumentParser(
        prog="tercet init",
        description="Make a model's folder from an .onnx or .pt file: version 1, a config.pbtxt with what "
        "was found, and, where made-up input fits, a golden example. Nothing is overwritten.",
    )
    parser.add_argument("model_file", metavar="FILE", type=Path)
    parser.add_argument(
        "--repository", metavar="DIR", type=Path, default=Path("models"), help="default: models"
    )
    parser.add_argument("--name", default="", help="of the model; the file's name if not given")
    parser.add_argument(
        "--input",
        metavar="NAME:TYPE:DIMS",
        action="append",
        default=[],
        help="what a .pt file does not say, such as x:FP32:3,224,224 without the batch dimension; repeat it",
    )
    asked = parser.parse_args(words)
    from server.app.new_model import init

    return init(asked.model_file, asked.repository, asked.name, asked.input)


# manifest


def manifest(words: Sequence[str]) -> int:
    """Write the manifests of a version, a model or a repository, or the index of a repository."""
    parser = argparse.ArgumentParser(
        prog="tercet manifest",
        description="Write manifest.json into version folders: the SHA-256 of each file.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="a version folder, a model or a repository")
    parser.add_argument("--sign", metavar="KEY", type=Path, help="sign with this Ed25519 private key (PEM)")
    parser.add_argument(
        "--index", action="store_true", help="write DIR/index.json too, for a repository served over HTTP"
    )
    asked = parser.parse_args(words)
    try:
        written = seal(asked.folder, asked.sign)
        written += [write_index(asked.folder)] if asked.index else []
    except (NothingToSeal, KeyUnusable) as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from None
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
