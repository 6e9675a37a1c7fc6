"""How fast this machine is, beside the one that aims in microseconds were set on.

One and the same server is measured on both: the prototype of the bare path, with 64 callers of a tiny model
over HTTP with binary tensors. Where the aims were set, on a quiet machine, it took 17 microseconds of
processor time for a request.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.call import Door
from benchmarks.models import MODELS, lay, version_folder
from benchmarks.peers.known import PROTOTYPE
from benchmarks.peers.process import serving
from benchmarks.runs import Question, Setup, prepare, timed

WHERE_AIMS_WERE_SET_US = 17.0
CLIENTS = 64
MOST_ROWS = 64
LOOK_S = 1


class Yardstick:
    """The prototype, ready to be asked. `looks` are microseconds that a request took, one for each time."""

    def __init__(self, setup: Setup, question: Question) -> None:
        self._setup = setup
        self._question = question
        self.looks: list[float] = []

    def look(self) -> None:
        """Ask for a second once more. Raises `LoadFailed` if any request fails."""
        self.looks.append(timed(self._setup, self._question, LOOK_S)["cpu_us"])


@contextmanager
def yardstick() -> Iterator[Yardstick]:
    model = MODELS["tiny"]
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        repository, place = Path(scratch, "models"), Path(scratch, "prototype")
        lay([model], repository)
        question = Question(model.name, model.row(), Door.BINARY, CLIENTS)
        file = version_folder(repository, model.name) / "model.onnx"
        with serving(PROTOTYPE, question, file, MOST_ROWS, place) as server:
            setup = Setup(PROTOTYPE.name, server, server.cpu_s, PROTOTYPE.speech)
            prepare(setup, question)
            yield Yardstick(setup, question)
