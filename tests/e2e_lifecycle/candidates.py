"""Candidates that must never serve, each with words that its reason has to hold."""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

from tests.e2e.workshop import FLOAT, value, written
from tests.lifecycle.shelf import plus

Files = Mapping[str, bytes]
SEED = 20261121
BIG = 2_000_000_000
"""Elements: eight gigabytes of FP32, more than any test allows."""


@dataclass(frozen=True)
class Candidate:
    """What to put into a model's folder.

    version   files of version 1
    says      each must stand in the reason; before a bar, one of several will do
    config    of config.pbtxt; none where it is empty
    """

    name: str
    version: Files
    says: tuple[str, ...]
    config: str = ""

    def put(self, repository: Path) -> None:
        folder = repository / self.name / "1"
        files = {f"1/{name}": content for name, content in self.version.items()}
        if self.config:
            files["config.pbtxt"] = self.config.encode()
        for name, content in files.items():
            path = folder.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def example(x: list[float], y: list[float], output: str = "y", **more: object) -> bytes:
    """A golden example of one row."""
    return json.dumps(
        {
            "request": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": x}]},
            "response": {"outputs": [{"name": output, "shape": [1, len(y)], "datatype": "FP32", "data": y}]},
            **more,
        }
    ).encode()


GOOD = plus(1)
ASKED = {"model.onnx": GOOD, "examples/good.json": example([1, 2], [2, 3])}
"""y = x + 1, and an example that it answers rightly: what a candidate adds makes it bad."""


def every_kind() -> list[Candidate]:
    return [
        *damaged_files(),
        *unusable_graphs(),
        *contradicting_configurations(),
        *wrong_examples(),
        *harmful_code(),
        *joined_wrongly(),
        *hungry_models(),
        *torchscript_archives(),
    ]


def damaged_files() -> Iterator[Candidate]:
    cannot = ("model.onnx cannot be loaded",)
    for percent in (5, 25, 50, 75, 95):
        yield Candidate(f"cut_at_{percent}", {"model.onnx": GOOD[: len(GOOD) * percent // 100]}, cannot)
    yield Candidate("last_byte_missing", {"model.onnx": GOOD[:-1]}, cannot)
    yield Candidate("empty", {"model.onnx": b""}, ("model.onnx is empty",))
    yield Candidate("random_bytes", {"model.onnx": random.Random(SEED).randbytes(4000)}, cannot)
    yield Candidate("zeros", {"model.onnx": bytes(4000)}, cannot)
    yield Candidate("error_page", {"model.onnx": b"<html>404 Not Found</html>"}, cannot)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield Candidate("git_lfs_pointer", {"model.onnx": pointer}, cannot)
    yield Candidate("tail_of_zeros", {"model.onnx": GOOD[:-40] + bytes(40)}, cannot)
    yield Candidate("other_format", {"model.onnx": zipped({"data": b"x"})}, cannot)
    yield Candidate("no_model", {"notes.txt": b"soon"}, ("holds no model.onnx or model.pt",))


def unusable_graphs() -> Iterator[Candidate]:
    x, y = value("x", FLOAT, "n", 2), value("y", FLOAT, "n", 2)

    def graph(*nodes: onnx.NodeProto, opset: int = 17, ir: int = 9, **domains: int) -> Files:
        sets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in domains.items())]
        made = helper.make_graph(list(nodes), "graph", [x], [y])
        return {"model.onnx": helper.make_model(made, opset_imports=sets, ir_version=ir).SerializeToString()}

    add = helper.make_node("Add", ["x", "x"], ["y"])
    yield Candidate("opset_of_the_future", graph(add, opset=99), ("Opset 99",))
    yield Candidate("format_of_the_future", graph(add, ir=99), ("IR version: 99",))
    yield Candidate("unknown_operator", graph(helper.make_node("Frobnicate", ["x"], ["y"])), ("Frobnicate",))
    yield Candidate(
        "foreign_operator", graph(helper.make_node("Mine", ["x"], ["y"], domain="acme"), acme=1), ("Mine",)
    )
    yield Candidate("dangling_input", graph(helper.make_node("Add", ["x", "nowhere"], ["y"])), ("nowhere",))
    yield Candidate("no_output", graph(helper.make_node("Identity", ["x"], ["z"])), ("y",))
    yield Candidate("wrong_types", graph(helper.make_node("And", ["x", "x"], ["y"])), ("tensor(float)",))
    outside = onnx.load_from_string(
        written([helper.make_node("Add", ["x", "w"], ["y"])], [x], [y], w=np.ones((1, 2), np.float32))
    )
    weights = outside.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    yield Candidate("weights_missing", {"model.onnx": outside.SerializeToString()}, ("weights.bin",))


def contradicting_configurations() -> Iterator[Candidate]:
    def configured(name: str, config: str, *says: str) -> Candidate:
        return Candidate(name, {"model.onnx": GOOD}, says, config)

    tensor = '{{ name: "{}" data_type: {} dims: [ {} ] }}'
    yield configured("unreadable_config", "max_batch_size: [", "config.pbtxt")
    yield configured("unknown_field", "max_batchsize: 4", "max_batchsize")
    yield configured(
        "wrong_input_name", f"input [ {tensor.format('X', 'TYPE_FP32', 2)} ]", "'X' is configured", "'x'"
    )
    yield configured("wrong_datatype", f"input [ {tensor.format('x', 'TYPE_INT64', 2)} ]", "as INT64", "FP32")
    yield configured(
        "wrong_shape", f"input [ {tensor.format('x', 'TYPE_FP32', 3)} ]", "shape [-1, 3]", "[-1, 2]"
    )
    yield configured("other_platform", 'platform: "pytorch_libtorch"', "model.pt")
    yield configured("other_file_name", 'default_model_filename: "net.onnx"', "net.onnx")
    yield configured(
        "no_labels",
        'output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "l.txt" } ]',
        "l.txt",
    )
    fixed = written([helper.make_node("Neg", ["x"], ["y"])], [value("x", FLOAT, 2)], [value("y", FLOAT, 2)])
    yield Candidate(
        "no_batch_dimension", {"model.onnx": fixed}, ("max_batch_size is 8",), "max_batch_size: 8"
    )


def wrong_examples() -> Iterator[Candidate]:
    def asked(name: str, content: bytes, *says: str) -> Candidate:
        return Candidate(name, {"model.onnx": GOOD, "examples/e.json": content}, ("example 'e'", *says))

    yield asked("wrong_answer", example([1, 2], [2, 4]), "output 'y' is 3 at [0, 1] where 4 was expected")
    yield asked("nearly_right", example([1, 2], [2, 3.01]), "tolerance 0.0001")
    yield asked("exact_only", example([1, 2], [2, 3.00001], tolerance={"y": 0}), "tolerance 0")
    yield asked("wrong_answer_shape", example([1, 2], [2, 3, 4]), "has shape [1, 2] where [1, 3]")
    yield asked("other_output", example([1, 2], [2, 3], output="z"), "output 'z' is not among")
    yield asked("not_json", b"{", "not valid JSON|JSON")
    yield asked("no_answer", b'{"request": {"inputs": []}}', "'request' must be")
    yield asked(
        "wrong_question", example([1, 2], [2, 3]).replace(b'"x"', b'"X"'), "unexpected inference input 'X'"
    )


def harmful_code() -> Iterator[Candidate]:
    passing = "def preprocess(inputs):\n    return inputs\n"

    def code(name: str, text: str, *says: str, file: str = "pre.py") -> Candidate:
        return Candidate(name, {**ASKED, file: text.encode()}, says)

    late = ("stopped at", "--verify-timeout-secs")
    yield code("loops_at_import", "while True:\n    pass\n", *late, "loading (pre.py line")
    waits = "import threading\ndef setup(context):\n    threading.Event().wait()\n"
    yield code("waits_in_setup", waits + passing, *late, "loading (pre.py line 3, in setup)")
    loops = "def preprocess(inputs):\n    while True: pass\n"
    yield code("loops_in_a_call", loops, *late, "pre.py line 2, in preprocess")
    sleeps = "import time\ndef postprocess(outputs): time.sleep(600)\n"
    yield code("sleeps_behind", sleeps, *late, "example 'good' (post.py line 2", file="post.py")
    grows = "kept = []\nwhile True:\n    kept.append(bytearray(50_000_000))\n"
    yield code("grows_without_end", grows, "MiB of memory (--verify-memory-bytes)", "loading")
    yield code("aborts", "import os\nos.abort()\n", "SIGABRT", "loading")
    yield code("segfaults", "import ctypes\nctypes.string_at(0)\n", "SIGSEGV", "loading", "pre.py line 2")
    shot = "import os, signal\ndef preprocess(inputs): os.kill(os.getpid(), signal.SIGKILL)"
    yield code("is_killed", shot, "SIGKILL", "memory runs out")
    yield code("leaves", "import os\nos._exit(3)\n", "exit code 3")
    yield code("leaves_politely", "raise SystemExit(0)\n", "pre.py line 1", "SystemExit")
    yield code("syntax_error", "def preprocess(inputs)\n", "pre.py line 1", "SyntaxError")
    yield code("no_function", "x = 1\n", "has no function preprocess")
    yield code("missing_package", f"import no_such_package\n{passing}", "no_such_package")
    yield code("raises_in_setup", f"def setup(c):\n    {{}}['weights']\n{passing}", "KeyError", "line 2")
    yield code(
        "raises_in_a_call",
        "def preprocess(i):\n    1 / 0",
        "example 'good'",
        "pre.py line 2",
        "ZeroDivisionError",
    )
    yield code("returns_nothing", "def preprocess(i): pass", "example 'good'", "returned a NoneType")
    yield code("drops_the_input", "def preprocess(i): return {}", "example 'good'", "missing 'x'")
    yield code("refuses_its_example", "def preprocess(i): raise ValueError('no')", "example 'good'", ": no")
    forks = "import os, time\nif os.fork() == 0:\n    os.setsid()\ntime.sleep(600)\n"
    yield code("leaves_children_behind", forks, *late)


def joined_wrongly() -> Iterator[Candidate]:
    """Every row alone is answered well."""
    x, y = value("x", FLOAT, "n", 2), value("y", FLOAT, "n", 2)
    mean = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    yield Candidate(
        "mean_over_the_batch", {"model.onnx": written(mean, [x], [y])}, ("as its rows alone", "output 'y'")
    )
    one = [helper.make_node("Compress", ["x", "chosen"], ["y"], axis=0)]
    yield Candidate(
        "answers_one_row",
        {"model.onnx": written(one, [x], [y], chosen=np.array([True]))},
        ("as its rows alone", "shape [1, 2] for a batch of 4 rows"),
    )
    two = [helper.make_node("MatMul", ["ones", "x"], ["sum"]), helper.make_node("Add", ["x", "sum"], ["y"])]
    yield Candidate(
        "frozen_batch",
        {"model.onnx": written(two, [x], [y], ones=np.ones((1, 1), np.float32))},
        ("a batch of 2 rows fails, where max_batch_size is 4",),
    )
    first = [
        helper.make_node("Gather", ["x", "zero"], ["first"]),
        helper.make_node("Add", ["x", "first"], ["y"]),
    ]
    yield Candidate(
        "reads_the_first_row",
        {"model.onnx": written(first, [x], [y], zero=np.array([0]))},
        ("as its rows alone", "without dynamic_batching"),
    )


def hungry_models() -> Iterator[Candidate]:
    says = ("MiB of memory (--verify-memory-bytes)|bad_alloc|allocate",)
    x = value("x", FLOAT, "n", 1)
    big = {"big": np.array([1, BIG])}
    while_loading = [
        helper.make_node("ConstantOfShape", ["big"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"]),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    yield Candidate(
        "hungry_while_loading",
        {"model.onnx": written(while_loading, [x], [value("y", FLOAT, "n", 1)], **big)},
        says,
    )
    while_running = [
        helper.make_node("Expand", ["x", "big"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axis"], ["y"]),
    ]
    yield Candidate(
        "hungry_while_running",
        {
            "model.onnx": written(
                while_running, [x], [value("y", FLOAT, "n", 1)], **big, axis=np.array([1], np.int64)
            )
        },
        says,
    )


class PlusOne(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Endless(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while bool((x == x).all()):
            x = x + 0
        return x


class Raising(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert bool((x < -1e9).all()), "far too large"
        return x


class OverTheBatch(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


def scripted(module: torch.nn.Module) -> bytes:
    kept = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), kept)
    return kept.getvalue()


def torch_config() -> str:
    """What a TorchScript file of one x and one answer does not say of itself."""
    return """
        max_batch_size: 4
        dynamic_batching { }
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
        output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] } ]
    """


def torchscript_archives() -> Iterator[Candidate]:
    config = torch_config()
    good = scripted(PlusOne())

    def archive(name: str, content: bytes, *says: str, config: str = config) -> Candidate:
        return Candidate(name, {"model.pt": content}, says, config)

    for percent in (25, 75, 98):
        yield archive(f"archive_cut_at_{percent}", good[: len(good) * percent // 100], "model.pt")
    yield archive("archive_overwritten", good[:80] + bytes(200) + good[280:], "model.pt")
    yield archive("other_archive", zipped({"archive/data.pkl": b"x"}), "model.pt")
    kept = io.BytesIO()
    torch.save(PlusOne().state_dict(), kept)
    yield archive("weights_alone", kept.getvalue(), "model.pt")
    yield archive("pickle", pickle.dumps({"x": 1}), "model.pt")
    yield archive("endless_forward", scripted(Endless()), "stopped at a first run", "--verify-timeout-secs")
    yield Candidate(
        "raises_always",
        {"model.pt": scripted(Raising()), "examples/good.json": example([1, 2], [1, 2], "OUTPUT__0")},
        ("example 'good'", "far too large"),
        config,
    )
    yield archive("not_described", good, "does not say what shapes", config="max_batch_size: 4")
    yield archive("mean_over_rows", scripted(OverTheBatch()), "as its rows alone", "OUTPUT__0")


def zipped(files: Files) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return kept.getvalue()
