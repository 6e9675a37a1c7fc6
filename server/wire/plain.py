"""Inference for people: business objects or a file in, plain JSON out.

One object `{input: value}` is one row; a list of them, or `{"instances": [...]}`, is several. A
model with one input also takes its bare value. No shape, datatype or batch dimension is written.
"""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import orjson

from server.domain.errors import InvalidRequest
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, VARIABLE, Array, TensorSpec
from server.wire import json_text, values
from server.wire.raw import Buffer, one_element, written

_INSTANCES = "instances"


def decode(body: Buffer, signature: Signature, *, version: str = "", now: float) -> tuple[InferRequest, bool]:
    """The request, and whether it is a list of rows, which is answered by a list.

    Raises `InvalidRequest`, naming the row and the field.
    """
    document = json_text.read(body)
    rows, many = _rows(document, signature)
    if many and not signature.max_batch_size:
        raise InvalidRequest(f"model '{signature.model}' takes one object at a time, not a list of them")
    if not rows:
        raise InvalidRequest(f"the list of objects for model '{signature.model}' is empty")
    read = [_row(row, f"row {index}: " if many else "", signature) for index, row in enumerate(rows)]
    inputs = {name: _stacked(name, read) for name in read[0]} if signature.max_batch_size else read[0]
    return InferRequest(signature.model, version, inputs, arrived=now), many


def decode_file(content: bytes, signature: Signature, *, version: str = "", now: float) -> InferRequest:
    """A file as the one element of a model's one BYTES input. Raises `InvalidRequest`."""
    specs = signature.inputs
    if len(specs) == 1 and specs[0].datatype == "BYTES":
        shape = [1 if size == VARIABLE else size for size in specs[0].shape]
        if set(shape) <= {1}:
            return InferRequest(
                signature.model, version, {specs[0].name: one_element(content, shape)}, arrived=now
            )
    inputs = ", ".join(f"'{spec.name}' ({spec.datatype} {written(spec.shape)})" for spec in specs)
    raise InvalidRequest(
        f"a file can be sent to a model with one BYTES input of one element, "
        f"but model '{signature.model}' takes {inputs}"
    )


def encode(response: InferResponse, many: bool, batched: bool) -> bytes:
    """One object for each row, or one object for all if the outputs have no batch dimension.

    A row of one element is written bare, any other as nested lists. Bytes that are no text are
    written as `{"b64": "..."}`, and NaN and Infinity as null, because people's JSON has neither.
    """
    columns = {name: _writable(array) for name, array in response.outputs.items()}
    if not batched:
        return orjson.dumps({name: _bare(array) for name, array in columns.items()}, option=_NUMPY)
    count = max((len(array) for array in columns.values()), default=0)
    rows = [{name: _bare(array[row]) for name, array in columns.items()} for row in range(count)]
    return orjson.dumps(rows if many or len(rows) != 1 else rows[0], option=_NUMPY)


_NUMPY = orjson.OPT_SERIALIZE_NUMPY


def _rows(document: Any, signature: Signature) -> tuple[Sequence[Any], bool]:
    if (
        type(document) is dict
        and type(document.get(_INSTANCES)) is list
        and not _has_field(signature, _INSTANCES)
    ):
        return document[_INSTANCES], True
    if type(document) is not list:
        return [document], False
    if document and all(type(item) is dict for item in document) and not _is_bare(document[0], signature):
        return document, True
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"model '{signature.model}' takes an object with {_fields(signature)}, or a list of such objects"
        )
    dims = len(_dims(signature.inputs[0], signature))
    return (document, True) if len(values.shape_of(document)) > dims else ([document], False)


def _is_bare(value: Any, signature: Signature) -> bool:
    """Whether an object is itself an element: bytes of a model's one BYTES input, in base64."""
    return type(value) is dict and value.keys() == {"b64"} and not _has_field(signature, "b64")


def _has_field(signature: Signature, name: str) -> bool:
    return any(spec.name == name for spec in signature.inputs)


def _dims(spec: TensorSpec, signature: Signature) -> tuple[int, ...]:
    """The shape of one row."""
    return spec.shape[1:] if signature.max_batch_size else spec.shape


def _fields(signature: Signature) -> str:
    return ", ".join(f"'{spec.name}'" for spec in signature.inputs)


def _row(row: Any, where: str, signature: Signature) -> dict[str, Array]:
    specs = signature.inputs
    if type(row) is not dict or _is_bare(row, signature):
        if len(specs) != 1:
            raise InvalidRequest(
                f"{where}model '{signature.model}' takes an object with {_fields(signature)}, "
                f"but got {values.kind_of(row)}"
            )
        row = {specs[0].name: row}
    known = {spec.name for spec in specs}
    for name in row:
        if name not in known:
            raise InvalidRequest(
                f"{where}'{name}' is no field of model '{signature.model}', which takes {_fields(signature)}"
            )
    inputs = {}
    for spec in specs:
        if spec.name in row:
            inputs[spec.name] = _value(row[spec.name], spec, f"{where}field '{spec.name}'", signature)
        elif spec.name not in signature.optional:
            raise InvalidRequest(
                f"{where}field '{spec.name}' is missing; model '{signature.model}' takes {_fields(signature)}"
            )
    return inputs


def _value(value: Any, spec: TensorSpec, what: str, signature: Signature) -> Array:
    dims = _dims(spec, signature)
    came = values.shape_of(value)
    wanted = _fitting(dims, came)
    if wanted is None:
        raise InvalidRequest(
            f"{what} of model '{signature.model}' must be {_described(dims)}, "
            f"but is {values.kind_of(value) if not came else 'of shape ' + written(came)}"
        )
    data = value if type(value) is list else [value]
    return values.array_of(data, DATATYPES[spec.datatype], wanted, f"{what} of model '{signature.model}'")


def _fitting(dims: tuple[int, ...], came: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape to give to a value of shape `came`; None if it does not fit."""
    if len(came) == len(dims):
        fits = all(want in (VARIABLE, size) for want, size in zip(dims, came, strict=True))
        return came if fits else None
    if not came:
        return (1,) * len(dims) if all(want in (VARIABLE, 1) for want in dims) else None
    if len(came) == 1 and VARIABLE not in dims and int(np.prod(dims, dtype=object)) == came[0]:
        return dims
    return None


def _described(dims: tuple[int, ...]) -> str:
    return f"a list of shape {written(dims)}" if any(size != 1 for size in dims) else "a single value"


def _stacked(name: str, rows: Sequence[dict[str, Array]]) -> Array:
    first = rows[0][name]
    for index, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise InvalidRequest(f"row {index}: its fields are not those of row 0")
        if row[name].shape != first.shape:
            raise InvalidRequest(
                f"row {index}: field '{name}' has shape {written(row[name].shape)}, "
                f"but in row 0 it has {written(first.shape)}"
            )
    return np.stack([row[name] for row in rows])


def _writable(array: Array) -> Array:
    """The same values in a contiguous array that orjson can write, or in one of objects."""
    if array.dtype.hasobject:
        texts: Array = np.empty(array.shape, dtype=object)
        texts.reshape(-1)[:] = [_text(element) for element in array.reshape(-1).tolist()]
        return texts
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(np.float32)
    return np.ascontiguousarray(array).reshape(array.shape)


def _text(element: Any) -> Any:
    if not isinstance(element, bytes):
        return str(element)
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": values.base64_of(element)}


def _bare(row: Any) -> Any:
    """A row's value: a scalar where there is one element in at most one dimension."""
    if not isinstance(row, np.ndarray):
        return _scalar(row)
    if row.size == 1 and row.ndim <= 1:
        return _scalar(row.reshape(-1)[0])
    return row.tolist() if row.dtype.hasobject else row


def _scalar(value: Any) -> Any:
    """What orjson can write: NumPy's floats, with their short digits, but not each of its integers."""
    return value if isinstance(value, np.floating) or not isinstance(value, np.generic) else value.item()
