"""Ensembles of small models, and the repository that holds both."""

from pathlib import Path

import torch
from onnx import helper

from tests.e2e.workshop import FLOAT, INT64, ONE_BY_ONE, PICKY_PRE, put, slow, times, value, written

LETTERS = """
import numpy as np

INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]

def preprocess(inputs):
    texts = [text.decode() for text in inputs["text"][:, 0]]
    if "" in texts:
        raise ValueError("a text must have letters")
    return {"x": np.array([[text.count(letter) for letter in "abc"] for text in texts], np.float32)}
"""
"""A tokenizer of a kind: how often a text has the letters a, b and c."""

KINDS = """
platform: "pytorch_libtorch"
max_batch_size: 8
input { name: "counts" data_type: TYPE_FP32 dims: [ 3 ] }
output { name: "likeness" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "kinds.txt" }
"""
"""A classifier as TorchScript: ant, bee or cat, whichever letter is there most."""


class Doubled(torch.nn.Module):
    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        return counts * 2


def plus_both() -> bytes:
    """y = a + b."""
    return written(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [value("a", FLOAT, "n", 2), value("b", FLOAT, "n", 2)],
        [value("y", FLOAT, "n", 2)],
    )


def rounded() -> bytes:
    """rounds = x as whole numbers: what `slow` takes."""
    return written(
        [helper.make_node("Cast", ["x"], ["rounds"], to=INT64)],
        [value("x", FLOAT, "n", 1)],
        [value("rounds", INT64, "n", 1)],
    )


def whole() -> bytes:
    """same = x, two numbers without a batch dimension."""
    return written(
        [helper.make_node("Identity", ["x"], ["same"])], [value("x", FLOAT, 2)], [value("same", FLOAT, 2)]
    )


def step(model: str, inputs: dict[str, str], outputs: dict[str, str], version: int = -1) -> str:
    maps = [("input_map", inputs), ("output_map", outputs)]
    lines = [f'{name} {{ key: "{key}" value: "{to}" }}' for name, each in maps for key, to in each.items()]
    return f'step {{ model_name: "{model}" model_version: {version} {" ".join(lines)} }}\n'


def tensors(kind: str, **dims: str) -> str:
    """`dims` says datatype and dims of each tensor: "FP32 2"."""
    lines = []
    for name, said in dims.items():
        datatype, _, sizes = said.partition(" ")
        listed = ", ".join(sizes.split())
        lines.append(f'{kind} {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {listed} ] }}\n')
    return "".join(lines)


def ensemble(*steps: str, rows: int = 8, inputs: str, outputs: str, more: str = "") -> str:
    """A config.pbtxt."""
    head = f'platform: "ensemble"\nmax_batch_size: {rows}\n'
    return f"{head}{inputs}{outputs}ensemble_scheduling {{\n{''.join(steps)}{more}}}\n"


def put_ensemble(repository: Path, name: str, config: str, version: int = 1) -> None:
    (repository / name / str(version)).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)


PAIR_IN, PAIR_OUT = tensors("input", X="FP32 2"), tensors("output", Y="FP32 2")
ONE_IN, ONE_OUT = tensors("input", X="FP32 1"), tensors("output", Y="FP32 1")

DIAMOND = ensemble(
    step("sum", {"a": "left", "b": "right"}, {"y": "Y"}),
    step("double", {"x": "X"}, {"y": "left"}),
    step("triple", {"x": "X"}, {"y": "right"}),
    inputs=PAIR_IN,
    outputs=PAIR_OUT + tensors("output", left="FP32 2"),
)
"""Y = 2 x + 3 x, its steps in no order; what comes in between may be asked for, too."""

OVER = ensemble(
    step("diamond", {"X": "X"}, {"Y": "five"}),
    step("double", {"x": "five"}, {"y": "Y"}),
    inputs=PAIR_IN,
    outputs=PAIR_OUT,
)
"""An ensemble over an ensemble: Y = 10 x."""

SPOTTER = ensemble(
    step("letters", {"text": "TEXT"}, {"y": "counts"}),
    step("kinds", {"counts": "counts"}, {"likeness": "KIND"}),
    inputs=tensors("input", TEXT="STRING 1"),
    outputs=tensors("output", KIND="FP32 3"),
)

PICKY = ensemble(
    step("double", {"x": "X"}, {"y": "twice"}),
    step("picky", {"x": "twice"}, {"y": "Y"}),
    inputs=ONE_IN,
    outputs=ONE_OUT,
)

LINE = ensemble(
    step("rounded", {"x": "X"}, {"rounds": "rounds"}),
    step("slow", {"rounds": "rounds"}, {"y": "long"}),
    step("triple", {"x": "long"}, {"y": "Y"}),
    rows=1,
    inputs=ONE_IN,
    outputs=ONE_OUT,
)
"""Y = 3 x, after x rounds; `slow` takes its time, and `triple` comes behind it."""

NARROW = LINE.rstrip("}\n") + "}\nmax_inflight_requests: 1\n}\n"
"""The same, with one request at a time at each step."""

ALONE = ensemble(
    step("whole", {"x": "X"}, {"same": "flat"}),
    step("double", {"x": "flat"}, {"y": "Y"}),
    rows=0,
    inputs=PAIR_IN,
    outputs=PAIR_OUT,
)
"""Y = 2 x without a batch dimension, over a model that has one."""


def furnish(repository: Path) -> None:
    """Fill an empty repository."""
    batching = "max_batch_size: 8 dynamic_batching {}"
    put(repository, "double", times(2), "max_batch_size: 32 dynamic_batching {}")
    put(repository, "triple", times(3), batching)
    put(repository, "sum", plus_both(), batching)
    put(repository, "letters", times(1, 3), batching, pre_py=LETTERS)
    put(repository, "picky", times(2, 1), batching, pre_py=PICKY_PRE)
    put(repository, "rounded", rounded(), batching)
    put(repository, "slow", slow(), ONE_BY_ONE)
    put(repository, "whole", whole())
    folder = repository / "kinds" / "1"
    folder.mkdir(parents=True)
    torch.jit.save(torch.jit.script(Doubled()), folder / "model.pt")
    (repository / "kinds" / "config.pbtxt").write_text(KINDS)
    (repository / "kinds" / "kinds.txt").write_text("ant\nbee\ncat\n")
    for name, config in (
        ("diamond", DIAMOND),
        ("over", OVER),
        ("spotter", SPOTTER),
        ("choosy", PICKY),
        ("line", LINE),
        ("narrow", NARROW),
        ("alone", ALONE),
    ):
        put_ensemble(repository, name, config)
