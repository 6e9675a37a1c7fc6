"""Small models that each do one thing, and the repository that holds them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
SIDE = 192


def put(repository: Path, name: str, model: bytes, config: str = "", **texts: str) -> Path:
    """Lay a model out with one version; `texts` are more files of that version, such as pre_py."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(model)
    for file, text in texts.items():
        (version / file.replace("_", ".")).write_text(text)
    if config:
        (repository / name / "config.pbtxt").write_text(config)
    return version


def value(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def written(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **weights: np.ndarray,
) -> bytes:
    """A graph as the bytes of model.onnx."""
    kept = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def times(factor: float, width: str | int = "width") -> bytes:
    """y = x * factor, for rows of FP32."""
    return written(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        [value("x", FLOAT, "n", width)],
        [value("y", FLOAT, "n", width)],
        factor=np.float32(factor),
    )


def attentive() -> bytes:
    """Self-attention over so many words as the mask says are real: words in, their contexts and one mean out.

    ids and mask INT64 (n, length); contexts FP32 (n, length, 4), scores (n, length, length), mean (n, 4).
    What stands where the mask is 0 makes no difference, but to the rows and columns of its own place.
    """
    words = np.random.default_rng(7).normal(size=(100, 4)).astype(np.float32)
    return written(
        [
            helper.make_node("Gather", ["words", "ids"], ["word"]),
            helper.make_node("Cast", ["mask"], ["real"], to=FLOAT),
            helper.make_node("Sub", ["real", "one"], ["unreal"]),
            helper.make_node("Mul", ["unreal", "huge"], ["forbidden"]),
            helper.make_node("Unsqueeze", ["forbidden", "middle"], ["forbidden_columns"]),
            helper.make_node("Transpose", ["word"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["word", "turned"], ["alike"]),
            helper.make_node("Add", ["alike", "forbidden_columns"], ["allowed"]),
            helper.make_node("Softmax", ["allowed"], ["scores"], axis=-1),
            helper.make_node("MatMul", ["scores", "word"], ["contexts"]),
            helper.make_node("Unsqueeze", ["real", "last"], ["real_rows"]),
            helper.make_node("Mul", ["contexts", "real_rows"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["real_rows", "middle"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
        ],
        [value("ids", INT64, "n", "length"), value("mask", INT64, "n", "length")],
        [
            value("contexts", FLOAT, "n", "length", 4),
            value("scores", FLOAT, "n", "length", "same"),
            value("mean", FLOAT, "n", 4),
        ],
        words=words,
        one=np.float32(1),
        huge=np.float32(1e9),
        middle=np.array([1]),
        last=np.array([2]),
    )


def echo() -> bytes:
    """What comes in goes out: one element of BYTES a row."""
    return written(
        [helper.make_node("Identity", ["said"], ["heard"])],
        [value("said", STRING, "n", 1)],
        [value("heard", STRING, "n", 1)],
    )


def slow() -> bytes:
    """y = rounds, after so many products of matrices: the caller says how long it takes."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["matrix", "same"], ["product"]),
        ],
        "round",
        [value("round", INT64), value("go", BOOL), value("matrix", FLOAT, SIDE, SIDE)],
        [value("go_on", BOOL), value("product", FLOAT, SIDE, SIDE)],
    )
    return written(
        [
            helper.make_node("ReduceMax", ["rounds"], ["trips"], keepdims=0),
            helper.make_node("Loop", ["trips", "", "ones"], ["end"], body=body),
            helper.make_node("ReduceMax", ["end"], ["one"], keepdims=0),
            helper.make_node("Cast", ["rounds"], ["asked"], to=FLOAT),
            helper.make_node("Mul", ["asked", "one"], ["y"]),
        ],
        [value("rounds", INT64, "n", 1)],
        [value("y", FLOAT, "n", 1)],
        same=np.eye(SIDE, dtype=np.float32),
        ones=np.ones((SIDE, SIDE), np.float32),
    )


ONE_BY_ONE = """
max_batch_size: 1
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { default_queue_policy { max_queue_size: 2 } }
"""

PATIENT = """
max_batch_size: 32
dynamic_batching { max_queue_delay_microseconds: 5000 }
"""

LABELS = """
max_batch_size: 8
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "animals.txt" }
"""

PICKY_PRE = """
def preprocess(inputs):
    if (inputs["x"] < 0).any():
        raise ValueError("x must not be below 0, as it is a weight in kg")
    if (inputs["x"] == 1000).any():
        raise LookupError("the scales are at home")
    return inputs
"""

PICKY_POST = """
def postprocess(outputs):
    if (outputs["y"] == 8).any():
        raise ValueError("nothing weighs 8 kg")
    if (outputs["y"] == 10).any():
        raise LookupError("the scales are at home")
    return outputs
"""

CURIOUS_PRE = """
import json
import numpy as np

INPUTS = [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}]

def preprocess(inputs, request):
    try:
        request.parameters["mine"] = True
    except TypeError:
        told = json.dumps([request.id, dict(request.parameters), request.priority])
    return {"said": np.full(inputs["x"].shape, told.encode(), object)}
"""

CURIOUS_POST = """
import json
import numpy as np

OUTPUTS = [{"name": name, "datatype": "BYTES", "shape": [-1, 1]} for name in ("before", "after")]

def postprocess(outputs, request):
    told = json.dumps([request.id, dict(request.parameters), request.priority])
    return {"before": outputs["heard"], "after": np.full(outputs["heard"].shape, told.encode(), object)}
"""


def furnish(repository: Path) -> None:
    """Fill an empty repository."""
    put(repository, "double", times(2), "max_batch_size: 32 dynamic_batching {}")
    put(repository, "patient", times(2), PATIENT)
    put(repository, "tagged", times(3), 'max_batch_size: 8 metric_tags { key: "team" value: "kitchen" }')
    put(repository, "echo", echo(), "max_batch_size: 8")
    put(repository, "slow", slow(), ONE_BY_ONE)
    put(repository, "picky", times(2, 1), "max_batch_size: 8", pre_py=PICKY_PRE, post_py=PICKY_POST)
    put(repository, "curious", echo(), "max_batch_size: 8", pre_py=CURIOUS_PRE, post_py=CURIOUS_POST)
    put(repository, "größe: 2.5 kg & more", times(2, 1))
    put(repository, "animals", times(1, 3), LABELS)
    (repository / "animals" / "animals.txt").write_text("cat\ndog\nemu\n")
