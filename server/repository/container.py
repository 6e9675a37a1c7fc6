"""Says whether a model file is all there, from its container alone.

A file that is still being copied has a head and no tail. No tensor is read into memory, and nothing is
mapped: a mapped file that is cut short by its writer would kill the process.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_OPSET = 7, 8
_GRAPH_INITIALIZER = 5
_TENSOR_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

SMALL = 64 * 1024
"""Bytes up to which a file is read in one piece."""


class Incomplete(Exception):
    """Something of the file is missing. `str(error)` says what."""


def is_complete(path: Path) -> bool:
    """Whether `path` ends where its own content says that it ends. True for files of other kinds."""
    try:
        if path.suffix == ".pt":
            _check_zip(path)
        elif path.suffix == ".onnx":
            _check_onnx(path)
    except (Incomplete, OSError):
        return False
    return True


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:  # reads the central directory, which is written last
            if not archive.namelist():
                raise Incomplete("an empty archive")
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # names or methods that are none
        raise Incomplete(str(error)) from error


def _check_onnx(path: Path) -> None:
    """Walk protobuf's fields to the last byte; source: onnx.proto, messages ModelProto and below."""
    with _opened(path) as file:
        found = set()
        external: list[_External] = []
        for field in fields(file, file.seek(0, 2), start=0):
            found.add(field.number)
            if field.number == _MODEL_GRAPH:
                for part in fields(file, field.end, field.start):
                    if part.number == _GRAPH_INITIALIZER:
                        external += _external_data(file, part)
        if not found >= {_MODEL_GRAPH, _MODEL_OPSET}:
            raise Incomplete("no graph, or no operator set")
    needed: dict[str, int] = {}
    for data in external:
        needed[data.location] = max(needed.get(data.location, 0), data.end)
    for location, size in needed.items():
        if (path.parent / location).stat().st_size < size:
            raise Incomplete(f"{location} is shorter than {size} bytes")


def external_files(path: Path) -> set[str]:
    """The files beside an ONNX file that hold tensors of it, as it names them. Raises `Incomplete`."""
    with _opened(path) as file:
        return {
            data.location
            for field in fields(file, file.seek(0, 2), start=0)
            if field.number == _MODEL_GRAPH
            for part in fields(file, field.end, field.start)
            if part.number == _GRAPH_INITIALIZER
            for data in _external_data(file, part)
        }


def _opened(path: Path) -> BinaryIO:
    """A file to jump about in; a small one is read whole, as each jump would ask the system."""
    with path.open("rb") as file:
        content = file.read(SMALL)
    return BytesIO(content) if len(content) < SMALL else path.open("rb")


class Field(NamedTuple):
    """One field of a protobuf message: its bytes lie from `start` to `end`."""

    number: int
    wire_type: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _External:
    """A tensor kept in another file, which must be at least `end` bytes long."""

    location: str
    end: int


def _external_data(file: BinaryIO, tensor: Field) -> list[_External]:
    facts = {}
    for field in fields(file, tensor.end, tensor.start):
        if field.number == _TENSOR_EXTERNAL_DATA:
            pair = {part.number: text(file, part) for part in fields(file, field.end, field.start)}
            facts[pair.get(_ENTRY_KEY, "")] = pair.get(_ENTRY_VALUE, "")
    if "location" not in facts:
        return []
    try:
        return [_External(facts["location"], int(facts.get("offset", "0")) + int(facts.get("length", "0")))]
    except ValueError as error:
        raise Incomplete("offset or length of external data is not a number") from error


def text(file: BinaryIO, field: Field) -> str:
    file.seek(field.start)
    return file.read(field.end - field.start).decode(errors="replace")


def fields(file: BinaryIO, end: int, start: int) -> Iterator[Field]:
    """The fields of the message that lies there, in order. Raises `Incomplete`."""
    at = start
    while at < end:
        file.seek(at)
        key = varint(file)
        number, wire_type = key >> 3, key & 7
        if wire_type == _BYTES:
            length = varint(file)
            field = Field(number, wire_type, file.tell(), file.tell() + length)
        elif wire_type == _VARINT:
            value_at = file.tell()
            varint(file)
            field = Field(number, wire_type, value_at, file.tell())
        elif wire_type in (_FIXED64, _FIXED32):
            field = Field(number, wire_type, file.tell(), file.tell() + (8 if wire_type == _FIXED64 else 4))
        else:
            raise Incomplete(f"byte {at} begins no field")
        if number == 0 or field.end > end:
            raise Incomplete(f"the field at byte {at} goes past the end")
        yield field
        at = field.end


def varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise Incomplete("ends in the middle of a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
