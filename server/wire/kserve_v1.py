"""KServe's V1 protocol: `{"instances": [...]}` in, `{"predictions": [...]}` out, one of each for a row.

An instance is an object `{input: value}`, or the bare value of a model's one input; `inputs` is
another name for the list, as it is in KServe's own server. A prediction is the bare value of a model's one
output, or an object of several. A model without a batch dimension takes a list of one.
Source: KServe's V1 protocol and its Python server.
"""

from typing import Any

from server.domain.errors import InvalidRequest
from server.domain.request import InferRequest, InferResponse
from server.domain.signature import Signature
from server.wire import json_text, plain
from server.wire.raw import Buffer
from server.wire.values import kind_of

_LISTS = ("inputs", "instances")
"""The first that is there is read."""


def decode(body: Buffer, signature: Signature, *, version: str = "", now: float) -> InferRequest:
    """Other members of the request are left alone. Raises `InvalidRequest`, naming the row and the field."""
    instances = _instances(json_text.read(body))
    batched = signature.max_batch_size > 0
    if not batched and len(instances) > 1:
        raise InvalidRequest(
            f"model '{signature.model}' has no batch dimension: it takes one instance at a time, "
            f"but got {len(instances)}"
        )
    return InferRequest(signature.model, version, plain.stacked(instances, signature), arrived=now)


def encode(response: InferResponse, batched: bool) -> bytes:
    """Values as `server.wire.plain` writes them."""
    rows = plain.rows_of(response, batched)
    if len(response.outputs) == 1:
        (name,) = response.outputs
        return plain.dumps({"predictions": [row[name] for row in rows]})
    return plain.dumps({"predictions": rows})


def _instances(document: Any) -> list[Any]:
    if type(document) is not dict:
        raise InvalidRequest(f"the request must be a JSON object, but is {kind_of(document)}")
    for name in _LISTS:
        if name in document:
            found = document[name]
            if type(found) is not list:
                raise InvalidRequest(f'Expected "{name}" to be a list, but it is {kind_of(found)}')
            return found
    raise InvalidRequest("the request has no 'instances': a list with one object or value for each row")
