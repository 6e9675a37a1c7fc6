"""A repository on a real file system, and clocks that the test sets."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from server.repository.scanner import Scanner

NOBODY = 65534


def onnx_bytes(constant: float = 1.0, elements: int = 4) -> bytes:
    """The model y = x + constant, with `elements` floats of weight."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [elements], [constant] * elements)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, elements])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, elements])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return model


class Repository:
    """A repository folder whose models a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def put(self, model: str, version: int = 1, content: bytes | None = None, config: str = "") -> Path:
        folder = self.path / model / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(onnx_bytes() if content is None else content)
        if config:
            (self.path / model / "config.pbtxt").write_text(config)
        return folder


class Clock:
    """Starts an hour after all files were written, so that they are at rest at first sight."""

    def __init__(self) -> None:
        self.s = 1_000.0
        self.ahead_s = 3_600.0

    def monotonic(self) -> float:
        return self.s

    def wall(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "models")


@pytest.fixture
def staging(tmp_path: Path) -> Repository:
    """A place on the same file system to make things in before they are moved."""
    return Repository(tmp_path / "staging")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scanner(repository: Repository, clock: Clock) -> Scanner:
    return Scanner([repository.path], settle_s=1.0, clock=clock.monotonic, wall_clock=clock.wall)


@pytest.fixture
def model_bytes() -> bytes:
    return onnx_bytes()


@pytest.fixture
def other_bytes() -> bytes:
    """Another model of the same size."""
    return onnx_bytes(constant=2.0)


@pytest.fixture
def large_bytes() -> bytes:
    """A model of about a megabyte."""
    return onnx_bytes(elements=262_144)


@pytest.fixture
def _unprivileged(tmp_path: Path) -> Iterator[None]:
    """A user to whom file modes mean something: root puts its rights down for the test."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
