"""What is wrong with a question, whatever door it comes to: one table for REST and gRPC."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.contract.models import BROKEN
from tests.contract.question import BINARY, FORMS, JSON, RAW, TYPED, Question, Tensor, Value, filled
from tests.contract.rows import INTERNAL, INVALID, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Call, Codes, Rest

Row = tuple[str, Question, str]
"""What it is, the question, and a piece of the sentence that refuses it."""

X = filled("x", "FP32", 1, 4)
A, B = filled("a", "INT32", 1, 1), filled("b", "FP32", 1, 2)
REGION: dict[str, Value] = {"shared_memory_region": "region", "shared_memory_byte_size": 16}


def of(*inputs: Tensor, model: str = "double", **rest: Any) -> Question:
    return Question(model, inputs, **rest)


def shape(*sizes: int, model: str = "double") -> Question:
    """As many elements as the shape says."""
    return of(filled("x", "FP32", *sizes), model=model)


def four_in(*sizes: int) -> Question:
    """Four elements, whatever the shape says."""
    return of(Tensor("x", "FP32", sizes, [1.0] * 4))


def datatype(name: str) -> Question:
    return of(filled("x", name, 1, 4))


def content(size: int) -> Question:
    """So many bytes where sixteen are due."""
    return of(Tensor("x", "FP32", [1, 4], content=bytes(size)))


def texts(count: int, content: bytes) -> Question:
    """Bytes that should be so many elements of BYTES."""
    return of(Tensor("said", "BYTES", [count, 1], content=content), model="echo")


def image(text: str) -> Question:
    return of(Tensor("IMAGE", "BYTES", [1, 1], [text]), model="digits_onnx")


def output(name: str, **parameters: Value) -> Question:
    return of(X, outputs=[(name, parameters)])


def parameter(**parameters: Value) -> Question:
    return of(X, parameters=parameters)


SHAPES: list[Row] = [
    ("one dimension", shape(4), "shape for input 'x' for model 'double'. Expected [-1,4], got [4]"),
    ("too narrow", shape(1, 3), "unexpected shape for input 'x' for model 'double'."),
    ("too wide", shape(2, 5), "Expected [-1,4], got [2,5]"),
    ("turned around", shape(4, 1), "Expected [-1,4], got [4,1]"),
    ("three dimensions", shape(1, 2, 2), "Expected [-1,4], got [1,2,2]"),
    ("no dimension", shape(), "Expected [-1,4], got []"),
    ("no columns", shape(1, 0), "Expected [-1,4], got [1,0]"),
    ("no rows", shape(0, 4), "inference request batch-size must be >= 1 for 'double'"),
    ("too many rows", shape(9, 4), "inference request batch-size must be <= 8 for 'double'"),
    ("far too many rows", shape(5000, 4), "inference request batch-size must be <= 8 for 'double'"),
    ("a wrong size of all", shape(2, 3, model="whole"), "Expected [2,2], got [2,3]"),
    ("a batch that is not asked for", shape(1, 2, 2, model="whole"), "Expected [2,2], got [1,2,2]"),
    ("more elements than there are", four_in(2, 4), "for input 'x' for model 'double'"),
    ("fewer elements than there are", four_in(1, 3), "for input 'x' for model 'double'"),
    ("a size beyond memory", four_in(2**40, 4), "for input 'x' for model 'double'"),
    ("a product beyond 64 bits", four_in(2**62, 2**62), "for input 'x' for model 'double'"),
    ("a product that wraps around", four_in(2**32, 2**32, 4), "for input 'x' for model 'double'"),
    ("a negative size", four_in(-1, 4), "of input 'x' for model 'double' must"),
    ("two negative sizes", four_in(-2, -2), "of input 'x' for model 'double' must"),
    ("a hundred dimensions", of(Tensor("x", "FP32", [1] * 100, [1.0])), "unexpected shape"),
    ("empty, and too large", of(Tensor("x", "FP32", [0, 2**62, 2**62])), "unexpected shape"),
    ("no elements", of(Tensor("x", "FP32", [1, 4])), "input 'x' for model 'double'"),
]

DATATYPES: list[Row] = [
    ("FP64 for FP32", datatype("FP64"), "data-type is 'FP64', but model 'double' expects 'FP32'"),
    ("INT32 for FP32", datatype("INT32"), "inference input 'x' data-type is 'INT32'"),
    ("BOOL for FP32", datatype("BOOL"), "inference input 'x' data-type is 'BOOL'"),
    ("BYTES for FP32", datatype("BYTES"), "inference input 'x' data-type is 'BYTES'"),
    ("FP32 for BYTES", of(filled("said", "FP32", 1, 1), model="echo"), "model 'echo' expects 'BYTES'"),
    ("one that there is not", datatype("FLOAT32"), "has datatype 'FLOAT32', which is none of BOOL"),
    ("one in lower case", datatype("fp32"), "has datatype 'fp32'"),
    ("one as configurations write it", datatype("TYPE_FP32"), "has datatype 'TYPE_FP32'"),
    ("an empty one", datatype(""), "has datatype ''"),
]

ELEMENTS: list[Row] = [
    ("too large for UINT8", of(Tensor("x", "UINT8", [1, 2], [1, 300]), model="small"), "but holds 300"),
    ("FP16 as elements", of(filled("x", "FP16", 1, 2), model="half"), "is FP16, which must be sent"),
    ("BF16 as elements", of(filled("x", "BF16", 1, 2), model="half"), "is BF16, which must be sent"),
]

BYTES: list[Row] = [
    ("a byte short", content(15), "byte size mismatch for input 'x' for model 'double'. Expected 16, got 15"),
    ("a byte long", content(17), "Expected 16, got 17"),
    ("twice as long", content(32), "Expected 16, got 32"),
    ("a text without its content", texts(1, b"\xff\xff\xff\xff"), "incomplete string data"),
    ("a text whose length is cut off", texts(2, b"\1\0\0\0a\1\0\0"), "incomplete string length"),
    ("a text whose content is cut off", texts(1, b"\5\0\0\0abc"), "incomplete string data"),
    ("texts too short for their lengths", texts(3, b"\0\0\0\0"), "unexpected number of string elements"),
    ("a text too many", texts(1, b"\1\0\0\0a\1\0\0\0b"), "unexpected number of string elements"),
    ("a text too few", texts(2, b"\4\0\0\0abcd"), "incomplete string length"),
    ("a truth of 2", of(Tensor("x", "BOOL", [1, 2], content=b"\1\2"), model="truth"), "but holds 2"),
]

FILES: list[Row] = [
    ("a file that is no image", image("not a picture"), "row 0 of IMAGE is not a readable PNG or JPEG file"),
    ("an image of another kind", image("GIF89a"), "row 0 of IMAGE is not a readable PNG or JPEG file"),
    ("an empty file", image(""), "row 0 of IMAGE is not a readable PNG or JPEG file"),
]

NOT_THERE: list[Row] = [
    ("an unknown model", of(X, model="nobody"), "Request for unknown model: 'nobody' is not found"),
    ("a model in capitals", of(X, model="DOUBLE"), "Request for unknown model: 'DOUBLE' is not found"),
    ("a model of dots", of(X, model=".."), "Request for unknown model: '..' is not found"),
    ("a model with line breaks", of(X, model="a\r\nSet-Cookie: b"), "Request for unknown model: "),
    ("a model with a zero", of(X, model="double\0"), "Request for unknown model: "),
    ("a model of a long name", of(X, model="long" * 250), "' is not found"),
    ("a model of a long foreign name", of(X, model="größe" * 200), "' is not found"),
    ("an unknown version", of(X, version="77"), "unknown model: 'double' version 77 is not found"),
    ("version 0", of(X, version="0"), "unknown model: 'double' version 0 is not found"),
    ("none that serves", of(X, model=BROKEN), "unknown model: 'broken' has no available versions"),
]

VERSIONS: list[Row] = [
    ("beyond 64 bits", of(X, version="9" * 20), "failed to get model version from specified version string"),
    ("of five thousand digits", of(X, version="1" * 5000), "failed to get model version from specified"),
]

NAMES: list[Row] = [
    ("no inputs", of(), "expected 1 inputs but got 0 inputs for model 'double'"),
    ("an unknown input", of(filled("z", "FP32", 1, 4)), "unexpected inference input 'z' for model 'double'"),
    ("an input in capitals", of(filled("X", "FP32", 1, 4)), "unexpected inference input 'X'"),
    ("an input without a name", of(filled("", "FP32", 1, 4)), "an input for model 'double' has no"),
    ("an input too many", of(X, filled("z", "FP32", 1, 4)), "unexpected inference input 'z'"),
    ("an input twice", of(X, X), "input 'x' for model 'double' is there more than once"),
    ("an input too few", of(A, model="pair"), "expected 2 inputs but got 1 inputs for model 'pair'"),
    ("other rows", of(A, filled("b", "FP32", 2, 2), model="pair"), "batch size does not match other inputs"),
    ("swapped", of(filled("b", "INT32", 1, 1), filled("a", "FP32", 1, 2), model="pair"), "data-type is"),
    ("an unknown output", output("z"), "unexpected inference output 'z' for model 'double'"),
    ("an input for an output", output("x"), "unexpected inference output 'x' for model 'double'"),
    ("an output without a name", output(""), "an output for model 'double' has no"),
    ("an output twice", of(X, outputs=[("y", {}), ("y", {})]), "output 'y' is requested more than once"),
]

PARAMETERS: list[Row] = [
    ("classes below 0", output("y", classification=-1), "parameter 'classification' of output 'y'"),
    ("classes as text", output("y", classification="3"), "parameter 'classification' of output 'y'"),
    ("classes as a fraction", output("y", classification=1.5), "parameter 'classification' of output 'y'"),
    ("classes as a truth", output("y", classification=True), "parameter 'classification' of output 'y'"),
    (
        "classes of a text",
        of(filled("said", "BYTES", 1, 1), model="echo", outputs=[("heard", {"classification": 1})]),
        "output 'heard' has no numbers to rank",
    ),
    ("timeout below 0", parameter(timeout=-1), "parameter 'timeout' of the request"),
    ("timeout as text", parameter(timeout="soon"), "parameter 'timeout' of the request"),
    ("timeout as a fraction", parameter(timeout=0.5), "parameter 'timeout' of the request"),
    ("timeout as a truth", parameter(timeout=True), "parameter 'timeout' of the request"),
    ("priority below 0", parameter(priority=-2), "parameter 'priority' of the request"),
    ("priority as text", parameter(priority="high"), "parameter 'priority' of the request"),
    ("priority as a fraction", parameter(priority=1.0), "parameter 'priority' of the request"),
    ("sequence_id below 0", parameter(sequence_id=-1), "parameter 'sequence_id'"),
    ("sequence_id as a fraction", parameter(sequence_id=1.5), "parameter 'sequence_id'"),
    ("sequence_id as a truth", parameter(sequence_id=True), "parameter 'sequence_id'"),
    ("sequence_start as a number", parameter(sequence_start=1), "'sequence_start' must be a bool"),
    ("sequence_end as text", parameter(sequence_end="yes"), "'sequence_end' must be a bool"),
    ("binary output as text", parameter(binary_data_output="yes"), "parameter 'binary_data_output'"),
    ("a key of Triton's", parameter(triton_final_response=True), "'triton_final_response' is reserved"),
    ("another such key", parameter(triton_=1), "parameter 'triton_' is reserved"),
    ("the key headers", parameter(headers="x"), "parameter 'headers' is reserved"),
]

SHARED: list[Row] = [
    ("an input", of(filled("x", "FP32", 1, 4, parameters=REGION)), "input 'x' for model 'double' is in"),
    ("an output", output("y", **REGION), "output 'y' for model 'double' is wanted in shared memory"),
]

NOT_READY: list[Row] = [
    ("a version that did not load", of(X, model=BROKEN, version="1"), "version 1 is not at ready state"),
]

FAILING: list[Row] = [
    (
        "what the model fails for",
        of(Tensor("place", "INT64", [1, 1], [7]), model="fragile"),
        "model 'fragile' version 1 failed",
    ),
]

TABLE: dict[str, tuple[Codes, Sequence[str], list[Row]]] = {
    "shape": (INVALID, FORMS, SHAPES),
    "datatype": (INVALID, FORMS, DATATYPES),
    "elements": (INVALID, (JSON, TYPED), ELEMENTS),
    "bytes": (INVALID, (BINARY, RAW), BYTES),
    "file": (INVALID, FORMS, FILES),
    "not there": (NOT_FOUND, FORMS, NOT_THERE),
    "version": (INVALID, FORMS, VERSIONS),
    "name": (INVALID, FORMS, NAMES),
    "parameter": (INVALID, FORMS, PARAMETERS),
    "shared memory": (UNSUPPORTED, FORMS, SHARED),
    "not ready": (UNAVAILABLE, FORMS, NOT_READY),
    "failing": (INTERNAL, FORMS, FAILING),
}


def rows() -> Iterator[Rest | Call]:
    """Each question in each form that can express it."""
    for kind, (codes, forms, questions) in TABLE.items():
        for title, question, says in questions:
            for form in forms:
                name = f"{kind}: {title}, {form}"
                if form in (JSON, BINARY):
                    yield Rest(name, question.over_http(form), codes.http, says)
                else:
                    message = question.over_grpc(form).SerializeToString()
                    yield Call(name, "ModelInfer", message, codes.grpc, says)
