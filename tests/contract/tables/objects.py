"""Plain objects, instances, prompts and files that a model cannot make anything of."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.contract.line import request, to_model
from tests.contract.rows import Rest
from tests.server_process import SAMPLES

PATIENT: dict[str, Any] = json.loads((SAMPLES / "diabetes" / "patient.json").read_text())
PICTURE = (SAMPLES / "digits" / "8.png").read_bytes()
PACKED = {"b64": base64.b64encode(PICTURE).decode()}
NO_IMAGE = "row 0 of IMAGE is not a readable PNG or JPEG file"


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in PATIENT.items() if key != field}


OBJECTS: list[tuple[str, str, Any, str]] = [
    (
        "a patient without an age",
        "diabetes",
        without("age"),
        "field 'age' is missing; model",
    ),
    ("a field that there is not", "diabetes", {**PATIENT, "name": "A."}, "'name' is no field of model"),
    ("nothing known", "diabetes", {}, "field 'age' is missing"),
    ("an age as text", "diabetes", {**PATIENT, "age": "59"}, "field 'age' of model 'diabetes' is FP32"),
    ("an age of null", "diabetes", {**PATIENT, "age": None}, "field 'age' of model 'diabetes' is FP32"),
    (
        "two ages",
        "diabetes",
        {**PATIENT, "age": [59, 60]},
        "field 'age' of model 'diabetes' must be a single",
    ),
    ("an age as an object", "diabetes", {**PATIENT, "age": {"years": 59}}, "field 'age' of model 'diabetes'"),
    ("a number", "diabetes", 59, "model 'diabetes' takes an object with 'age'"),
    ("a list of numbers", "diabetes", [59, 2], "model 'diabetes' takes an object with 'age'"),
    ("no patients", "diabetes", [], "model 'diabetes' takes an object"),
    ("no instances", "diabetes", {"instances": []}, "the list of objects for model 'diabetes' is empty"),
    ("a bad second one", "diabetes", [PATIENT, without("bmi")], "row 1: field 'bmi' is missing"),
    ("an object among numbers", "diabetes", [PATIENT, 5], "model 'diabetes' takes an object"),
    ("three numbers for four", "double", {"x": [1, 2, 3]}, "field 'x' of model 'double' must be a list of"),
    ("a ragged list", "double", {"x": [1, [2], 3, 4]}, "field 'x' of model 'double'"),
    ("nine rows for eight", "double", [[1, 2, 3, 4]] * 9, "batch-size must be <= 8 for 'double'"),
    ("a list for what does not batch", "whole", [{"x": [[1, 2], [3, 4]]}], "takes one object at a time"),
    ("a number for a text", "echo", {"said": 5}, "field 'said' of model 'echo' is BYTES"),
    ("base64 that is none", "digits_onnx", {"IMAGE": {"b64": "%%%"}}, "with standard base64 in it"),
    ("base64 under another key", "digits_onnx", {"IMAGE": {"base64": "AA=="}}, "with standard base64 in it"),
    ("a text for a picture", "digits_onnx", {"IMAGE": "8"}, NO_IMAGE),
    ("base64 of no picture", "digits_onnx", {"IMAGE": {"b64": "AAAA"}}, NO_IMAGE),
    ("a bad second picture", "digits_onnx", [{"IMAGE": PACKED}, {"IMAGE": "8"}], "row 1 of IMAGE is not"),
    ("half precision as numbers", "half", {"x": [1e9, 1]}, "field 'x' of model 'half' is FP16"),
]

FILES: list[tuple[str, str, bytes, str]] = [
    ("an empty one", "digits_onnx", b"", NO_IMAGE),
    ("noise", "digits_onnx", bytes(range(256)), NO_IMAGE),
    ("a head alone", "digits_onnx", PICTURE[:16], NO_IMAGE),
    ("half a picture", "digits_onnx", PICTURE[: len(PICTURE) // 2], NO_IMAGE),
    ("a picture with a flaw", "digits_onnx", PICTURE[:40] + b"\xff" * 8 + PICTURE[48:], NO_IMAGE),
    ("JPEG's first bytes", "digits_onnx", b"\xff\xd8\xff\xe0" + bytes(100), NO_IMAGE),
    ("a vector graphic", "digits_onnx", b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
    ("for a model of numbers", "double", PICTURE, "but model 'double' takes 'x' (FP32 [-1,4])"),
    ("for a model of many inputs", "diabetes", PICTURE, "a file can be sent to a model with one BYTES input"),
]

INSTANCES: list[tuple[str, str, Any, str]] = [
    ("a list", "double", [[1, 2, 3, 4]], "the request must be a JSON object, but is a list"),
    ("none", "double", {}, "the request has no 'instances'"),
    ("an empty list", "double", {"instances": []}, "the list of objects for model 'double' is empty"),
    ("no list", "double", {"instances": {"x": [1]}}, 'Expected "instances" to be a list'),
    ("columns", "double", {"inputs": {"x": [[1, 2, 3, 4]]}}, 'Expected "inputs" to be a list'),
    ("a bad second one", "double", {"instances": [[1, 2, 3, 4], [1]]}, "row 1: field 'x' of model 'double'"),
    (
        "values for many inputs",
        "diabetes",
        {"instances": [[59, 2]]},
        "row 0: model 'diabetes' takes an object",
    ),
    ("nine for eight", "double", {"instances": [[1, 2, 3, 4]] * 9}, "batch-size must be <= 8 for 'double'"),
    ("two for what does not batch", "whole", {"instances": [[1, 2, 3, 4]] * 2}, "one instance at a time"),
    ("a text for a picture", "digits_onnx", {"instances": ["8"]}, NO_IMAGE),
]

GENERATED: list[tuple[str, str, Any, str]] = [
    ("a list", "double", [1, 2, 3, 4], "the request must be a JSON object, but is a list"),
    ("nothing known", "double", {"text_input": "hello"}, "expected 1 inputs but got 0 inputs"),
    ("an input too few", "pair", {"a": 1}, "expected 2 inputs but got 1 inputs for model 'pair'"),
    (
        "no shape for so many",
        "double",
        {"x": [1, 2, 3]},
        "can not convert input 'x' to tensor with proper shape",
    ),
    ("a text for numbers", "double", {"x": ["1", "2", "3", "4"]}, "input 'x' for model 'double' is FP32"),
    ("a number for a text", "echo", {"said": 5}, "input 'said' for model 'echo' is BYTES"),
    ("null", "echo", {"said": None}, "element 0 of its data is null"),
    ("an object for a text", "echo", {"said": {"user": "a"}}, "with standard base64 in it"),
    ("twice", "echo", {"said": "a", "parameters": {"said": "b"}}, "'said' already exists in request"),
    ("an object for a parameter", "echo", {"said": "a", "heat": {}}, "parameter 'heat' must be a string"),
    ("parameters that are none", "echo", {"said": "a", "parameters": 1}, "'parameters' of the request must"),
    ("an id of a number", "echo", {"said": "a", "id": 1}, "'id' must be a string"),
    ("a time of text", "echo", {"said": "a", "timeout": "1"}, "parameter 'timeout' of the request"),
    ("a key of Triton's", "echo", {"said": "a", "triton_x": 1}, "'triton_x' is reserved"),
    ("nine rows for eight", "double", {"x": [1] * 36}, "batch-size must be <= 8 for 'double'"),
    ("a text for a picture", "digits_onnx", {"IMAGE": "8"}, NO_IMAGE),
]


def rows() -> Iterator[Rest]:
    for title, model, document, says in INSTANCES:
        sent = request(f"/v1/models/{model}:predict", json.dumps(document).encode())
        yield Rest(f"instances: {title}", sent, 400, says)
    for title, model, document, says in GENERATED:
        for verb in ("generate", "generate_stream"):
            sent = request(to_model(model, verb), json.dumps(document).encode())
            yield Rest(f"{verb}: {title}", sent, 400, says)
    for title, model, document, says in OBJECTS:
        sent = request(to_model(model, "predict"), json.dumps(document).encode())
        yield Rest(f"object: {title}", sent, 400, says)
    for title, body in {"nothing": b"", "a word": b"hello", "cut off": b'{"x": [1, 2'}.items():
        yield Rest(f"object: {title}", request(to_model("double", "predict"), body), 400, "is not JSON")
    for title, model, content, says in FILES:
        for kind in ("image/png", "application/octet-stream"):
            sent = request(to_model(model, "predict"), content, f"Content-Type: {kind}")
            yield Rest(f"file: {title}, as {kind}", sent, 400, says)
