"""`python -m benchmarks.peers`, which is `make bench-peers`: ours beside other servers, asked the same.

Each peer is a part: its environment is made if it is not there, it is started beside ours and the prototype,
and the three are asked in turn. A peer that cannot be installed or started is told of in a sentence, and the
others are measured. Meant for a quiet machine.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.call import Door
from benchmarks.models import MODELS
from benchmarks.parts import parser, run
from benchmarks.peers.aims import AIMS, MODEL
from benchmarks.peers.known import PEERS
from benchmarks.peers.table import table
from benchmarks.peers.turns import Chosen, measure

SYNTHETIC = ("tiny", "large", "wide")
SECONDS, REPEATS = 3, 3


def words() -> argparse.ArgumentParser:
    known = parser(
        "peers", "Measure ours beside others.", PEERS, seconds=SECONDS, repeats=REPEATS, also=["--peers"]
    )
    option = known.add_argument
    option(
        "--models", nargs="+", choices=SYNTHETIC, default=[MODEL], metavar="NAME", help=", ".join(SYNTHETIC)
    )
    option(
        "--doors",
        nargs="+",
        choices=[*Door],
        type=Door,
        default=[*Door],
        metavar="DOOR",
        help=", ".join(Door),
    )
    option(
        "--clients",
        nargs="+",
        type=int,
        default=(),
        metavar="N",
        help="how many at once; default "
        + ", ".join(f"{max(MODELS[name].clients)} for {name}" for name in SYNTHETIC),
    )
    return known


def main(said: Sequence[str]) -> int:
    asked = words().parse_args(said)
    chosen = Chosen(models=asked.models, doors=asked.doors, clients=asked.clients)
    parts = {name: partial(measure, name, chosen) for name in PEERS}
    return run("peers", parts, AIMS, asked, table)


def _told_to_stop(*_: object) -> None:
    """Leave as by Ctrl-C, so that every server that was started goes too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _told_to_stop)
    sys.exit(main(sys.argv[1:]))
