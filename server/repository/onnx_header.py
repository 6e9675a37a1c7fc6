"""What an ONNX file says of itself around its graph: who wrote it, and for which operators."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from server.repository.container import Field, fields, text, varint

_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _OPSET = 1, 2, 3, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
"""Fields of onnx.proto, messages ModelProto and OperatorSetIdProto."""


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """opsets   domain -> version; the standard operators' domain is "ai.onnx" here"""

    ir_version: int
    producer: str
    opsets: dict[str, int]

    def __str__(self) -> str:
        standard = self.opsets.get("ai.onnx")
        others = [f"{domain} {version}" for domain, version in self.opsets.items() if domain != "ai.onnx"]
        opset = f"opset {standard}" if standard else "no standard opset"
        return f"ONNX {opset}" + "".join(f", {each}" for each in others) + f", IR version {self.ir_version}"


def read_header(path: Path) -> OnnxHeader:
    """Raises `Incomplete` or `OSError`. Reads a few bytes of each field, and no tensor."""
    ir_version, producer, version, opsets = 0, "", "", {}
    with path.open("rb") as file:
        for field in fields(file, file.seek(0, 2), start=0):
            if field.number == _IR_VERSION:
                ir_version = _number(file, field)
            elif field.number == _PRODUCER:
                producer = text(file, field)
            elif field.number == _PRODUCER_VERSION:
                version = text(file, field)
            elif field.number == _OPSET:
                domain, opset = _opset(file, field)
                opsets[domain] = opset
    return OnnxHeader(ir_version, f"{producer} {version}".strip(), opsets)


def _opset(file: BinaryIO, field: Field) -> tuple[str, int]:
    domain, version = "ai.onnx", 0
    for part in fields(file, field.end, field.start):
        if part.number == _OPSET_DOMAIN:
            domain = text(file, part) or domain
        elif part.number == _OPSET_VERSION:
            version = _number(file, part)
    return domain, version


def _number(file: BinaryIO, field: Field) -> int:
    file.seek(field.start)
    return varint(file)
