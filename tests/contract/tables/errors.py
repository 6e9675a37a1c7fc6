"""The contract's table of errors: one trouble a row, asked over REST and over gRPC, its codes, its text.

What one protocol cannot express has None there. What needs a server in a state of its own is not here, but
in `tests.contract.test_error_table`.
"""

from typing import NamedTuple

from protos import inference_pb2 as pb
from tests.contract.line import request, to_model
from tests.contract.models import BROKEN, LARGEST
from tests.contract.question import BINARY, JSON, RAW, TYPED, Question, Tensor, filled
from tests.contract.rows import INTERNAL, INVALID, NOT_FOUND, TOO_LARGE, UNAVAILABLE, UNSUPPORTED, Codes

Rest = bytes | None
Call = tuple[str, bytes] | None
"""A method, and the bytes of its message."""


class Row(NamedTuple):
    """One trouble; `says` is a piece of the sentence, or all of it, by either protocol.

    `same` is whether the sentences agree in all else, too: not where one names what the other does not have.
    """

    trouble: str
    rest: Rest
    call: Call
    codes: Codes
    says: str
    same: bool = True


def infer(question: Question, over_http: str = JSON, over_grpc: str = RAW) -> tuple[Rest, Call]:
    return question.over_http(over_http), ("ModelInfer", question.over_grpc(over_grpc).SerializeToString())


def about(model: str, version: str, asked: str, method: str) -> tuple[Rest, Call]:
    """A question about a model: the messages of all of them have this layout."""
    path = to_model(model, *(["versions", version] if version else []), *asked.split())
    message = pb.ModelMetadataRequest(name=model, version=version)
    return request(path, method="GET"), (method, message.SerializeToString())


def order(model: str, what: str, repository: str = "", **parameters: str) -> tuple[Rest, Call]:
    """Load or unload."""
    path = "/".join(["/v2/repository", *([repository] if repository else []), "models", model, what])
    message = pb.RepositoryModelLoadRequest(repository_name=repository, model_name=model)
    body = b""
    for key, value in parameters.items():
        message.parameters[key].string_param = value
        body = b'{"parameters": {"%b": "%b"}}' % (key.encode(), value.encode())
    return request(path, body), (f"RepositoryModel{what.capitalize()}", message.SerializeToString())


X = filled("x", "FP32", 1, 4)
REGION = {"shared_memory_region": "region", "shared_memory_byte_size": 16}
INFER = to_model("double", "infer")
UNKNOWN = "Request for unknown model: 'nobody' is not found"
UNKNOWN_VERSION = "Request for unknown model: 'double' version 77 is not found"
NO_VERSION = f"Request for unknown model: '{BROKEN}' has no available versions"
NO_STATISTICS = "requested model 'nobody' is not available"
WIDE = filled("x", "FP32", LARGEST // 16 + 1, 4)
SHORT = Tensor("x", "FP32", [1, 4], content=bytes(12))
DATA_SHORT = Tensor("x", "FP32", [1, 4], [1.0, 2.0, 3.0])


def of(*inputs: Tensor, model: str = "double", **rest: object) -> tuple[Rest, Call]:
    return infer(Question(model, inputs, **rest))  # type: ignore[arg-type]


def bad_json(body: bytes) -> Rest:
    return request(INFER, body)


TABLE: list[Row] = [
    # INVALID_ARG: the request itself is at fault
    Row("not JSON", bad_json(b"{"), None, INVALID, "the request is not JSON"),
    Row("no message", None, ("ModelInfer", b"\xff"), INVALID, "the message cannot be read as inference."),
    Row("no inputs", bad_json(b"{}"), None, INVALID, "the request has no 'inputs'"),
    Row("an input without a name", bad_json(b'{"inputs": [{}]}'), None, INVALID, "has no 'name'"),
    Row("an input without a shape", bad_json(b'{"inputs": [{"name": "x", "datatype": "FP32"}]}'), None,
        INVALID,
        "input 'x' for model 'double' has no 'shape'"),
    Row("an input without a datatype", bad_json(b'{"inputs": [{"name": "x", "shape": [1, 4]}]}'), None,
        INVALID,
        "input 'x' for model 'double' has no 'datatype'"),
    Row("a wrong datatype", *of(filled("x", "INT32", 1, 4)), INVALID,
        "inference input 'x' data-type is 'INT32', but model 'double' expects 'FP32'"),
    Row("a wrong shape", *of(filled("x", "FP32", 1, 3)), INVALID,
        "unexpected shape for input 'x' for model 'double'. Expected [-1,4], got [1,3]"),
    Row("bytes that do not fit the shape", *infer(Question("double", [SHORT]), BINARY, RAW), INVALID,
        "input byte size mismatch for input 'x' for model 'double'. Expected 16, got 12"),
    Row("elements that do not fit the shape", *infer(Question("double", [DATA_SHORT]), JSON, TYPED), INVALID,
        "unexpected number of elements for input 'x' for model 'double': shape [1,4] has 4", False),
    Row("a missing input", *of(), INVALID, "expected 1 inputs but got 0 inputs for model 'double'"),
    Row("an unknown input", *of(filled("z", "FP32", 1, 4)), INVALID,
        "unexpected inference input 'z' for model 'double'"),
    Row("too many rows", *of(filled("x", "FP32", 9, 4)), INVALID,
        "inference request batch-size must be <= 8 for 'double'"),
    Row("an unknown output", *of(X, outputs=[("z", {})]), INVALID,
        "unexpected inference output 'z' for model 'double'"),
    Row("a parameter of a wrong kind", *of(X, parameters={"timeout": "5"}), INVALID,
        "parameter 'timeout' of the request must be a whole number"),
    Row("a parameter of Triton's own", *of(X, parameters={"triton_mine": True}), INVALID,
        "parameter 'triton_mine' is reserved"),
    Row("half precision as elements", *infer(Question("half", [filled("x", "FP16", 1, 2)]), JSON, TYPED),
        INVALID, "input 'x' for model 'half' is FP16, which must be sent", False),
    Row("an encoding that is not supported", request(INFER, b"{}", "Content-Encoding: br"), None, INVALID,
        "Content-Encoding 'br' is not supported"),
    Row("statistics of an unknown model", *about("nobody", "", "stats", "ModelStatistics"), INVALID,
        NO_STATISTICS),
    Row("statistics of an unknown version", *about("double", "77", "stats", "ModelStatistics"), INVALID,
        "requested model 'double' is not available"),
    Row("statistics of a model that does not serve", *about(BROKEN, "", "stats", "ModelStatistics"), INVALID,
        f"requested model '{BROKEN}' is not available"),
    Row("load of a broken model", *order(BROKEN, "load"), INVALID,
        f"load failed for model '{BROKEN}': version 1 is at UNAVAILABLE state: "),
    Row("load with a parameter that there is not", *order("double", "load", mine="1"), INVALID,
        "unrecognized load parameter 'mine'"),
    Row("unload with a parameter that there is not", *order("nobody", "unload", mine="1"), INVALID,
        "unrecognized unload parameter 'mine'"),
    # too large
    Row("a request over the limit", *of(WIDE), TOO_LARGE, f"{LARGEST}", False),
    # NOT_FOUND: whom it is for is not here
    Row("inference of an unknown model", *of(X, model="nobody"), NOT_FOUND, UNKNOWN),
    Row("metadata of an unknown model", *about("nobody", "", "", "ModelMetadata"), NOT_FOUND, UNKNOWN),
    Row("configuration of an unknown model", *about("nobody", "", "config", "ModelConfig"), NOT_FOUND,
        UNKNOWN),
    Row("inference of an unknown version", *of(X, version="77"), NOT_FOUND, UNKNOWN_VERSION),
    Row("metadata of an unknown version", *about("double", "77", "", "ModelMetadata"), NOT_FOUND,
        UNKNOWN_VERSION),
    Row("configuration of an unknown version", *about("double", "77", "config", "ModelConfig"), NOT_FOUND,
        UNKNOWN_VERSION),
    Row("inference where no version serves", *of(X, model=BROKEN), NOT_FOUND, NO_VERSION),
    Row("metadata where no version serves", *about(BROKEN, "", "", "ModelMetadata"), NOT_FOUND, NO_VERSION),
    Row("a version in the path that is no number", of(X, version="one")[0], None, NOT_FOUND,
        "failed to get model version from specified version string 'one'"),
    Row("a version in a message that is no number", None, of(X, version="one")[1], INVALID,
        "failed to get model version from specified version string"),
    Row("an unknown path", request("/v3"), None, NOT_FOUND, "there is nothing at /v3"),
    # UNAVAILABLE, which may pass
    Row("a version that is not ready", *of(X, model=BROKEN, version="1"), UNAVAILABLE,
        "version 1 is not at ready state"),
    # UNSUPPORTED: understood, and not offered
    Row("an unknown method", None, ("NoSuchMethod", b""), UNSUPPORTED, "ethod"),
    Row("an input in shared memory", *of(filled("x", "FP32", 1, 4, parameters=REGION)), UNSUPPORTED,
        "input 'x' for model 'double' is in shared memory, which this server does not offer"),
    Row("an output in shared memory", *of(X, outputs=[("y", REGION)]), UNSUPPORTED,
        "output 'y' for model 'double' is wanted in shared memory, which this server does not offer"),
    Row("load from a repository by its name", *order("double", "load", "local"), UNSUPPORTED,
        "naming a repository", False),
    Row("unload from a repository by its name", *order("double", "unload", "local"), UNSUPPORTED,
        "naming a repository", False),
    # INTERNAL: the model's or the repository's fault
    Row("load of a name in no repository", *order("nobody", "load"), INTERNAL,
        "failed to load 'nobody', failed to poll from model repository"),
    Row("load with a configuration that does not parse", *order("double", "load", config="{"), INTERNAL,
        "failed to load 'double', failed to poll from model repository"),
    Row("a model that fails while it runs", *of(Tensor("place", "INT64", [1, 1], [7]), model="fragile"),
        INTERNAL, "model 'fragile' version 1 failed"),
]  # fmt: skip
