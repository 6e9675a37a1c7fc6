"""The infer request and its answer as HTTP bodies: JSON, binary tensors after JSON, or a mixture.

`decode` views the tensors in the body that it is given; `encode` answers in pieces that the caller
sends one after the other. What an answer says of its tensors is written once for each shape and
then remembered.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import orjson

from server.domain.errors import InvalidRequest, NotSupported
from server.domain.limits import LIMITS, Limits
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, VARIABLE, Array
from server.wire import json_text, layout, parameters, raw
from server.wire.bounds import check_document
from server.wire.classification import NO_LABELS, Labels
from server.wire.form import AS_BYTES, AS_JSON, ReplyForm, form_of
from server.wire.outputs import named, outputs_of
from server.wire.tensor_json import name_of, parameters_of, read_input
from server.wire.values import kind_of

Chunk = bytes | memoryview

_ONLY_BINARY = frozenset({"FP16", "BF16"})
_OF_THE_FORM = frozenset({"binary_data_output"})
"""Parameters of a request that say nothing but how its answer is to look."""


def header_length_of(header: bytes | str | None) -> int | None:
    """The value of `Inference-Header-Content-Length`; None where the header is absent."""
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) <= 18):
        raise InvalidRequest("Inference-Header-Content-Length must be a whole number from 0 on")
    return int(header)


def decode(
    body: raw.Buffer,
    header_length: int | None,
    signature: Signature,
    *,
    version: str = "",
    now: float,
    limits: Limits = LIMITS,
) -> tuple[InferRequest, ReplyForm]:
    """Read one body.

    header_length   bytes of JSON before the tensors; None if all is JSON; 0 for a raw request,
                    whose whole body is the one input
    version         as the caller wrote it
    now             of the monotonic clock, when the request arrived

    Raises `InvalidRequest`, `RequestTooLarge` for too many elements, or `NotSupported` for shared
    memory. The inputs are not yet held against the signature, which says how to read a raw request
    and which outputs have rows.
    """
    if header_length == 0:
        return _decode_raw_request(body, signature, version, now), AS_BYTES
    if type(body) is bytes:
        if header_length is None:
            known = layout.find_json(body, signature, version, now)
        else:
            known = layout.find_binary(body, header_length, signature, version, now)
        if known is not None:
            return known
    size = len(body)
    if header_length is None:
        document = json_text.read(body)
        at = size
    else:
        if header_length > size:
            raise InvalidRequest(
                f"Inference-Header-Content-Length is {header_length}, but the body has {size} bytes"
            )
        document = json_text.read(memoryview(body)[:header_length])
        at = header_length
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    if at > limits.harmless_bytes or size > limits.elements:
        check_document(document, limits)
    model = signature.model
    inputs: dict[str, Array] = {}
    for tensor in _list(document, "inputs"):
        name, array, at = read_input(tensor, body, at, model)
        if name in inputs:
            raise InvalidRequest(f"input '{name}' for model '{model}' is there more than once")
        inputs[name] = array
    if at != size:
        raise InvalidRequest(
            f"unexpected additional input data for model '{model}': {size - at} bytes after the last input"
        )
    given = parameters_of(document, "the request")
    request = InferRequest(model, version, inputs, _id(document), arrived=now)
    binary = False
    if given:
        request.deadline, request.priority, request.parameters = parameters.read(given, now)
        binary = given.get("binary_data_output", False)
    if document.get("outputs") is None:
        form = AS_BYTES if binary else AS_JSON
    else:
        wanted = [_wanted(output, binary, model) for output in _list(document, "outputs")]
        request.outputs, form = form_of(wanted, model, binary, signature.max_batch_size > 0)
    if type(body) is bytes and given.keys() <= _OF_THE_FORM:
        if header_length is None:
            layout.keep_json(body, document, request, form, signature)
        else:
            _keep_binary(body, header_length, request, form, signature)
    return request, form


def _keep_binary(
    body: bytes, header_length: int, request: InferRequest, form: ReplyForm, signature: Signature
) -> None:
    """Remember the JSON before tensors that are all bytes."""
    size = sum(array.nbytes for array in request.inputs.values())
    if size == len(body) - header_length and (known := layout.known_of(request, form, signature)):
        layout.keep(signature, body[:header_length], layout.BinaryLayout(known))


def _list(document: dict[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    if type(found) is list:
        return found
    if found is None:
        raise InvalidRequest(f"the request has no '{key}'")
    raise InvalidRequest(f"'{key}' must be a list, but is {kind_of(found)}")


def _id(document: dict[str, Any]) -> str:
    found = document.get("id", "")
    if type(found) is not str:
        raise InvalidRequest(f"'id' must be a string, but is {kind_of(found)}")
    return found


def _wanted(output: Any, binary: bool, model: str) -> tuple[str, bool, int]:
    name = name_of(output, "output", model)
    what = f"output '{name}' for model '{model}'"
    given = parameters_of(output, what)
    if not given:
        return name, binary, 0
    if parameters.names_shared_memory(given):
        raise NotSupported(f"{what} is wanted in shared memory, which this server does not offer")
    classes = parameters.whole(given, "classification", what)
    return name, parameters.flag(given, "binary_data", what, binary), classes


def _decode_raw_request(body: raw.Buffer, signature: Signature, version: str, now: float) -> InferRequest:
    model = signature.model
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"a raw request needs a model with one input, but '{model}' has {len(signature.inputs)}"
        )
    spec = signature.inputs[0]
    what = f"input '{spec.name}' for model '{model}'"
    datatype = DATATYPES[spec.datatype]
    shape = [1, *spec.shape[1:]] if signature.max_batch_size else list(spec.shape)
    if shape.count(VARIABLE) > 1:
        raise InvalidRequest(
            f"a raw request can fill in one variable dimension, but {what} has {raw.written(shape)}"
        )
    array: Array
    if not datatype.itemsize:
        shape = [1 if size == VARIABLE else size for size in shape]
        if prod(shape) != 1:
            raise InvalidRequest(
                f"a raw request of BYTES is one element, but {what} has shape {raw.written(shape)}"
            )
        array = raw.one_element(bytes(body), shape)
    else:
        if VARIABLE in shape:
            size_of_one = prod(size for size in shape if size != VARIABLE) * datatype.itemsize
            shape[shape.index(VARIABLE)] = len(body) // size_of_one if size_of_one else 0
        array = raw.decode(body, 0, len(body), datatype, shape, what)
    return InferRequest(model, version, {spec.name: array}, arrived=now)


def encode(
    response: InferResponse, form: ReplyForm, labels: Labels = NO_LABELS
) -> tuple[int | None, list[Chunk]]:
    """Write one answer: the length of its JSON if bytes follow it, else None, and its pieces in order.

    Large tensors are views: the response's arrays must stay as they are until the pieces are sent.
    Raises `InvalidRequest` for an output that cannot be written as JSON, `InferenceFailed` for one
    that the protocol has no datatype for.
    """
    texts: list[bytes] = []
    buffers: list[Chunk] = []
    heads: list[_Head] = []
    chosen = form.chosen
    for name, array in outputs_of(response, form, labels).items():
        datatype = named(response, name, array)
        if chosen.get(name, form.binary) if chosen else form.binary:
            buffer = raw.encode(array)
            buffers.append(buffer)
            heads.append((name, datatype, array.shape, len(buffer)))
        else:
            texts.append(_json_data(name, datatype, array))
            heads.append((name, datatype, array.shape, None))
    pieces = _pieces(response.model, response.version, tuple(heads))
    if response.id or response.parameters:
        pieces = _with_its_own(pieces, response)
    if not texts:
        head = pieces[0]
        return (len(head), [head, *buffers]) if buffers else (None, [head])
    if len(texts) == 1 and not buffers:  # as most answers are
        return None, [pieces[0], texts[0], pieces[1]]
    chunks: list[Chunk] = [pieces[0]]
    for index, text in enumerate(texts, start=1):
        chunks += (text, pieces[index])
    return sum(map(len, chunks)) if buffers else None, chunks + buffers


_Head = tuple[str, str, tuple[int, ...], int | None]
"""Name, datatype, shape, and how many bytes it has; None if its elements are in the JSON."""


@lru_cache(maxsize=1024)
def _pieces(model: str, version: str, heads: tuple[_Head, ...]) -> tuple[bytes, ...]:
    """The JSON of an answer, cut where elements go."""
    pieces: list[bytes] = []
    piece = b'{"model_name":%b,"model_version":%b,"outputs":[' % (orjson.dumps(model), orjson.dumps(version))
    for index, (name, datatype, shape, size) in enumerate(heads):
        head = orjson.dumps({"name": name, "datatype": datatype, "shape": shape})
        piece += (b"," if index else b"") + head[:-1]
        if size is None:
            pieces.append(piece + b',"data":')
            piece = b"}"
        else:
            piece += b',"parameters":{"binary_data_size":%d}}' % size
    return (*pieces, piece + b"]}")


def _with_its_own(pieces: tuple[bytes, ...], response: InferResponse) -> tuple[bytes, ...]:
    """The same with what no other answer of this shape shares: the id before all, the parameters behind."""
    cut = list(pieces)
    if response.parameters:
        cut[-1] = cut[-1][:-1] + b',"parameters":%b}' % orjson.dumps(dict(response.parameters))
    if response.id:
        cut[0] = b'{"id":%b,' % orjson.dumps(response.id) + cut[0][1:]
    return tuple(cut)


def _json_data(name: str, datatype: str, array: Array) -> bytes:
    if datatype in _ONLY_BINARY:
        raise InvalidRequest(
            f"output '{name}' is {datatype}, which JSON cannot carry; ask for it with binary_data"
        )
    if datatype != "BYTES":
        return json_text.write_elements(array)
    try:
        return orjson.dumps(texts_of(array))
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"output '{name}' holds bytes that are not UTF-8 text; ask for it with binary_data"
        ) from None


def texts_of(array: Array) -> Sequence[str]:
    """The elements of a BYTES tensor as text, flat. Raises `UnicodeDecodeError`."""
    return [
        element.decode() if isinstance(element, bytes) else str(element)
        for element in array.reshape(-1).tolist()
    ]
