"""What ONNX Runtime writes down of a model, opened in place of the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from runtimes.errors import ModelBroken
from runtimes.onnx_preparing import WEIGHTS, prepare_onnx
from runtimes.opening import open_session
from runtimes.processors import processor_kind
from runtimes.session import ModelFile
from runtimes.worker.telling import file_of as file_of_told
from runtimes.worker.telling import file_told
from tests.e2e.workshop import FLOAT, attentive, value, written
from tests.runtimes.models import onnx_identity, onnx_mlp, some_rows


def convolved() -> bytes:
    """A convolution, which is laid out for the processor's kernels, and a batch norm that melts into it."""
    chance = np.random.default_rng(3)
    return written(
        [
            helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "spread"], ["b"]),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        [value("x", FLOAT, "n", 8, 16, 16)],
        [value("y", FLOAT, "n", 16, 16, 16)],
        kernel=chance.standard_normal((16, 8, 3, 3)).astype(np.float32),
        **{name: chance.random(16).astype(np.float32) for name in ("scale", "shift", "mean", "spread")},
    )


def file_of(folder: Path, content: bytes) -> ModelFile:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return ModelFile(path=path)


def prepared(model: ModelFile) -> ModelFile:
    into = model.path.parent / "prepared"
    into.mkdir()
    return replace(model, prepared=prepare_onnx(model, into))


def answers(model: ModelFile, **inputs: np.ndarray) -> list[bytes]:
    session = open_session(model)
    outputs = [spec.name for spec in session.description.outputs]
    answer = session.run(inputs, outputs)
    session.close()
    arrays = answer.values()
    return [repr(array).encode() if array.dtype.hasobject else array.tobytes() for array in arrays]


def question_to(model: str) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(5)
    match model:
        case "mlp":
            return {"x": some_rows(3)}
        case "convolution":
            return {"x": chance.standard_normal((2, 8, 16, 16)).astype(np.float32)}
        case "attention":
            return {"ids": chance.integers(0, 100, (2, 9)), "mask": np.ones((2, 9), np.int64)}
    return {"x": np.array([[b"a", b"bc", b""]], object)}


def made(model: str, folder: Path) -> ModelFile:
    match model:
        case "mlp":
            return onnx_mlp(folder)
        case "convolution":
            return file_of(folder, convolved())
        case "attention":
            return file_of(folder, attentive())
    return onnx_identity(folder, "BYTES")


@pytest.mark.parametrize("model", ["mlp", "convolution", "attention", "text"])
def test_what_was_prepared_answers_as_the_file_to_the_last_bit(tmp_path, model):
    file, question = made(model, tmp_path), question_to(model)
    ready = prepared(file)
    assert answers(ready, **question) == answers(file, **question)
    assert open_session(ready).description == open_session(file).description


def test_weights_of_what_was_prepared_are_mapped_until_it_is_closed(tmp_path):
    session = open_session(prepared(onnx_mlp(tmp_path)))
    session.run({"x": some_rows(1)}, [session.description.outputs[0].name])
    mapped = str(tmp_path / "prepared" / WEIGHTS)
    assert mapped in Path("/proc/self/maps").read_text()
    session.close()
    assert mapped not in Path("/proc/self/maps").read_text()


def test_a_file_that_the_runtime_cannot_read_cannot_be_prepared(tmp_path):
    with pytest.raises(ModelBroken, match=r"model\.onnx cannot be prepared"):
        prepared(file_of(tmp_path, b"no model"))


def test_a_prepared_file_that_cannot_be_read_is_the_model_s_fault_and_named(tmp_path):
    ready = prepared(onnx_mlp(tmp_path))
    ready.prepared.write_bytes(b"no model")
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        open_session(ready)


def test_a_processor_is_known_by_what_it_can_do(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("processor: 0\nmodel name: A\nflags: sse avx\nMHz: 1\n\nprocessor: 1\nmodel name: B\n")
    other.write_text("processor: 0\nmodel name: A\nflags: sse avx avx512f\nMHz: 2\n")
    assert processor_kind(one).endswith("A; sse avx")
    assert processor_kind(one) != processor_kind(other)
    assert processor_kind(tmp_path / "none") != ""


def test_a_worker_process_is_told_what_was_prepared(tmp_path):
    ready = prepared(onnx_mlp(tmp_path))
    assert file_of_told(file_told(ready), None) == ready
    assert file_of_told(file_told(replace(ready, prepared=None)), None).prepared is None
