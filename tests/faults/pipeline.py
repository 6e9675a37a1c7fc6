"""A version of three stages whose every answer tells who made it, and which notes what each stage was asked.

A request is a number. Its right answer from version v, of code and model, is number * 10 + v in `y`, and the
version that each stage was of in `by`. Each run of code appends the number to a file of its process, so that
whatever was done twice is found.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import helper

from tests.e2e.workshop import FLOAT, value, written

MODEL = "m"

PRE = """\
import os
INPUTS = [{{"name": "number", "datatype": "FP32", "shape": [-1, 1]}}]
NOTES = open(os.path.join({notes!r}, "pre-" + str(os.getpid())), "ab", buffering=0)

def preprocess(inputs):
    number = inputs["number"]
    NOTES.write(b"".join(b"%d\\n" % each for each in number.reshape(-1)))
    return {{"x": number * 2, "pre": number * 0 + {version}}}
"""

POST = """\
import os
import numpy as np
OUTPUTS = [
    {{"name": "y", "datatype": "FP32", "shape": [-1, 1]}},
    {{"name": "by", "datatype": "FP32", "shape": [-1, 3]}},
]
NOTES = open(os.path.join({notes!r}, "post-" + str(os.getpid())), "ab", buffering=0)

def postprocess(outputs):
    ten, by = outputs["ten"], outputs["seen"]
    NOTES.write(b"".join(b"%d\\n" % round(each / 10) for each in ten.reshape(-1)))
    return {{"y": ten + {version}, "by": np.concatenate([by, by[:, :1] * 0 + {version}], axis=1)}}
"""


def lay_version(repository: Path, version: int, notes: Path) -> None:
    """Move a whole version in, as a careful operator does."""
    folder = repository / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f".making-{version}"
    making.mkdir()
    (making / "model.onnx").write_bytes(_times_five(version))
    (making / "pre.py").write_text(PRE.format(notes=str(notes), version=version))
    (making / "post.py").write_text(POST.format(notes=str(notes), version=version))
    making.rename(folder / str(version))


def is_right(number: int, outputs: dict[str, list[float]]) -> bool:
    """Whether it is the whole answer of one version, whichever."""
    by = set(outputs["by"])
    return len(by) == 1 and outputs["y"] == [number * 10 + by.pop()]


def done_twice(notes: Path) -> dict[str, list[int]]:
    """The numbers that a stage was run for more than once, over all its processes."""
    counts: dict[str, Counter[int]] = {"pre": Counter(), "post": Counter()}
    for file in notes.iterdir():
        counts[file.name.partition("-")[0]].update(map(int, file.read_text().split()))
    return {
        stage: twice for stage, seen in counts.items() if (twice := [n for n, c in seen.items() if c > 1])
    }


def _times_five(version: int) -> bytes:
    """ten = 5 x; seen = the version of the code before it, and its own."""
    return written(
        [
            helper.make_node("Mul", ["x", "five"], ["ten"]),
            helper.make_node("Mul", ["pre", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "version"], ["own"]),
            helper.make_node("Concat", ["pre", "own"], ["seen"], axis=1),
        ],
        [value("x", FLOAT, "n", 1), value("pre", FLOAT, "n", 1)],
        [value("ten", FLOAT, "n", 1), value("seen", FLOAT, "n", 2)],
        five=np.float32(5),
        zero=np.float32(0),
        version=np.float32(version),
    )


def question(number: int) -> bytes:
    """The request as JSON."""
    tensor = {"name": "number", "datatype": "FP32", "shape": [1, 1], "data": [number]}
    return json.dumps({"inputs": [tensor]}).encode()
