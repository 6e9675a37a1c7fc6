"""Models of which each needs other tiers, and the repository that holds them."""

from pathlib import Path

from tests.e2e.workshop import CURIOUS_POST, CURIOUS_PRE, LABELS, PICKY_POST, PICKY_PRE, echo, put, times

LENGTHS = """
import numpy as np

INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]

def preprocess(inputs):
    return {"x": np.array([[len(row[0])] for row in inputs["text"]], np.float32)}
"""
"""How long a text is."""

MISFIT = """
import numpy as np

def preprocess(inputs):
    return {"x": np.zeros((len(inputs["x"]), 7), np.float32)}
"""
"""Makes what its model does not take."""

SHOUTS = """
OUTPUTS = [{"name": "word", "datatype": "BYTES", "shape": [-1, 1]}]

def postprocess(outputs):
    return {"word": [[f"{value:g}!"] for (value,) in outputs["y"]]}
"""

CHAIN = """
name: "chain"
platform: "ensemble"
max_batch_size: 8
input { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling {
  step {
    model_name: "lengths" model_version: -1
    input_map { key: "text" value: "TEXT" } output_map { key: "y" value: "length" }
  }
  step {
    model_name: "picky" model_version: -1
    input_map { key: "x" value: "length" } output_map { key: "y" value: "Y" }
  }
}
"""
"""The length of a text, twice doubled."""

MODELS = ("animals", "chain", "curious", "lengths", "misfit", "picky", "shouting")


def furnish(repository: Path) -> None:
    rows = "max_batch_size: 8"
    put(repository, "animals", times(1, 3), LABELS)
    (repository / "animals" / "animals.txt").write_text("cat\ndog\nemu\n")
    put(repository, "lengths", times(2, 1), rows, pre_py=LENGTHS)
    put(repository, "misfit", times(2, 1), rows, pre_py=MISFIT)
    put(repository, "shouting", times(2, 1), rows, post_py=SHOUTS)
    put(repository, "picky", times(2, 1), rows, pre_py=PICKY_PRE, post_py=PICKY_POST)
    put(repository, "curious", echo(), rows, pre_py=CURIOUS_PRE, post_py=CURIOUS_POST)
    (repository / "chain" / "1").mkdir(parents=True)
    (repository / "chain" / "config.pbtxt").write_text(CHAIN)
