"""What is served while tiers are measured: made by script, with weights from a fixed seed."""

import io
import shutil
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from benchmarks import networks
from benchmarks.models import MODELS, SAMPLES, Tensors

SIDE = 224
WIDE_FLOATS = 2**20
"""4 MiB of FP32."""

DECODE = """\
import io

import numpy as np
from PIL import Image

INPUTS = [{"name": "FILE", "datatype": "BYTES", "shape": [-1, 1]}]


def preprocess(inputs):
    files = inputs["FILE"].ravel()
    images = np.empty((len(files), 3, 224, 224), np.float32)
    for row, content in enumerate(files):
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        images[row] = np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1
    return {"INPUT": images}
"""

TOP = """\
import numpy as np

OUTPUTS = [{"name": "CLASS", "datatype": "INT64", "shape": [-1, 1]}]


def postprocess(outputs):
    return {"CLASS": outputs["OUTPUT"].argmax(axis=1, keepdims=True).astype(np.int64)}
"""

BURN = """\
import time

INPUTS = [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 64]}]


def preprocess(inputs):
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return inputs
"""

CONFIG = """\
max_batch_size: 8
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


def lay_tiny(repository: Path) -> None:
    MODELS["tiny"].lay(repository / "tiny")


def lay_burning(repository: Path) -> None:
    """A pre stage of 20 ms of processor time, and a tiny model."""
    MODELS["tiny"].lay(repository / "burning")
    config = repository / "burning" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "tiny"', 'name: "burning"'))
    (repository / "burning" / "1" / "pre.py").write_text(BURN)


def lay_digits(repository: Path) -> None:
    """The sample, of which the predict tier needs torch."""
    shutil.copytree(SAMPLES / "digits", repository / "digits", ignore=shutil.ignore_patterns("__pycache__"))


def lay_photos(repository: Path) -> None:
    """JPEG files into a network of ResNet-18's layers, and the class out."""
    version = repository / "photos" / "1"
    version.mkdir(parents=True)
    onnx.save(networks.large(), version / "model.onnx")
    (version / "pre.py").write_text(DECODE)
    (version / "post.py").write_text(TOP)
    (version.parent / "config.pbtxt").write_text(CONFIG)


def lay_identity(repository: Path) -> None:
    """4 MiB in, the same out: what is copied on the way shows."""
    version = repository / "identity" / "1"
    version.mkdir(parents=True)
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", WIDE_FLOATS])
        for name in ("INPUT", "OUTPUT")
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["INPUT"], ["OUTPUT"])], "identity", tensors[:1], tensors[1:]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, version / "model.onnx")


def photo() -> bytes:
    """A JPEG file as a camera of a telephone makes them, smaller."""
    random = np.random.default_rng(5)
    coarse = random.integers(0, 255, (24, 32, 3), np.uint8)
    image = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def scan() -> bytes:
    """A PNG file as a scanner makes them of one digit: 512 pixels a side, grey, with its noise."""
    random = np.random.default_rng(8)
    drawn = Image.open(SAMPLES / "digits" / "8.png").convert("L").resize((512, 512), Image.Resampling.BICUBIC)
    grey = np.asarray(drawn, np.float32) + random.normal(0, 4, (512, 512))
    file = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def one_file(name: str, content: bytes) -> Tensors:
    array = np.empty((1, 1), object)
    array[0, 0] = content
    return {name: array}


def digit() -> bytes:
    """A PNG file of 8 by 8 pixels, some hundred bytes."""
    return (SAMPLES / "digits" / "8.png").read_bytes()
