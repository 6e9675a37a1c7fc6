"""The command line of `tercet up`: its own options, and those that every process is given. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from server.supervisor.plan import Role

USAGE = """\
usage: tercet up [REPO ...] [--gateway N] [--pre N] [--predict N] [--post N] [--option=value ...]
       tercet up [REPO ...] --all N [--option=value ...]
       tercet up --rolling-restart [--metrics-port=8002]

Serves the models in the folders REPO by several processes of this machine, and keeps them running. Clients
ask the gateways, which share the HTTP and the gRPC port; with --all, whole servers that share them.

  --gateway N, --pre N, --predict N, --post N
      processes of this tier; 1 where others are named and this one is not, 0 leaves it out. None named:
      1 each for predict and post, gateways and pre tiers by the processors there are
  --all N
      in place of tiers, so many processes with every stage inside
  --rolling-restart
      tell the running `tercet up` to replace its processes one after the other, and wait until it has
  --surge true|false
      on a rolling restart, start the new process before the old one goes (true), which takes the memory
      of one process more, or after it (false), when a tier of one process answers nobody meanwhile [true]
  --restart-wait-secs
      on a rolling restart, how long a new process may take to be as ready as the old one [300]
  --scrape-secs
      how long a process may take to give its metrics [2]

All other options, before or after a `--`, are those of `tercet serve` and go to every process, but:
--http-port and --grpc-port are those of the gateways, --metrics-port is ours (the fleet's metrics, and at /
how each process is), and --log-file takes the log of all. --drain-grace-secs is 2 unless it is given: how
long the clients of a process that goes have to finish and to connect to another.

Signals: SIGTERM and SIGINT drain the fleet in order, SIGHUP is a rolling restart.
"""

COUNTS = {f"--{role}": role for role in Role}
FLAGS = ("--rolling-restart", "--surge")
SECONDS = ("--restart-wait-secs", "--scrape-secs")
YES, NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class WordsInvalid(Exception):
    """A value of our own options cannot be used; the sentence says which."""


@dataclass(slots=True)
class UpWords:
    """What a command line of `up` says.

    counts   of the roles that are named
    rest     for `serve`
    """

    counts: dict[Role, int] = field(default_factory=dict)
    rolling_restart: bool = False
    surge: bool = True
    restart_wait_s: float = 300.0
    scrape_s: float = 2.0
    help: bool = False
    rest: list[str] = field(default_factory=list)


def read_up(words: Sequence[str]) -> UpWords:
    """Raises `WordsInvalid`. What is not ours is not judged."""
    asked = UpWords()
    waiting = deque(words)
    while waiting:
        word = waiting.popleft()
        name, equals, value = word.partition("=")
        if word == "--":
            asked.rest.extend(waiting)
            break
        if word in ("-h", "--help"):
            asked.help = True
        elif name in FLAGS:
            if not equals:
                value = waiting.popleft() if waiting and waiting[0].lower() in YES | NO else "true"
            if value.lower() not in YES | NO:
                raise WordsInvalid(f"{name}={value}: must be true or false")
            if name == "--surge":
                asked.surge = value.lower() in YES
            else:
                asked.rolling_restart = value.lower() in YES
        elif name in COUNTS or name in SECONDS:
            if not equals:
                if not waiting:
                    raise WordsInvalid(f"{name} needs a value")
                value = waiting.popleft()
            if name in COUNTS:
                asked.counts[COUNTS[name]] = _count(name, value)
            elif name == "--scrape-secs":
                asked.scrape_s = _seconds(name, value)
            else:
                asked.restart_wait_s = _seconds(name, value)
        else:
            asked.rest.append(word)
    return asked


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise WordsInvalid(f"{name}={value}: must be a whole number of processes")
    return int(value)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise WordsInvalid(f"{name}={value}: must be a number of seconds above 0")
    return seconds


OURS = frozenset(
    {
        *("http_address", "http_port", "reuse_http_port", "grpc_address", "grpc_port", "reuse_grpc_port"),
        *("allow_metrics", "metrics_address", "metrics_port", "log_file", "model_repository"),
        *("allow_http", "allow_grpc", "role", "pre_endpoints", "predict_endpoints", "post_endpoints"),
    }
)
"""Options of `serve` that the plan sets for each process, and that are not passed on as they are given."""


def passed_on(given: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
    """What `serve` read from its words, by field, as flags again, less what the plan sets."""
    flags: dict[str, Sequence[str]] = {}
    for name, value in given.items():
        if name not in OURS:
            flags["--" + name.replace("_", "-")] = (
                [str(value)] if isinstance(value, str) else list(_texts(value))
            )
    return MappingProxyType(flags)


def _texts(value: object) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]
