"""The outputs of an answer as they go on the wire, whatever the protocol."""

from collections.abc import Mapping

from server.domain.errors import InferenceFailed
from server.domain.request import InferResponse
from server.domain.tensors import Array, datatype_of
from server.wire.classification import Labels, classes_of
from server.wire.form import ReplyForm


def outputs_of(response: InferResponse, form: ReplyForm, labels: Labels) -> Mapping[str, Array]:
    """The arrays to write: the response's own, but for those wanted as classes."""
    if not form.classes:
        return response.outputs
    return {
        name: classes_of(name, array, form.classes[name], labels.get(name, ()), form.batched)
        if name in form.classes
        else array
        for name, array in response.outputs.items()
    }


def named(response: InferResponse, name: str, array: Array) -> str:
    """The protocol's datatype of one output. Raises `InferenceFailed` for an array that has none."""
    try:
        return datatype_of(array)
    except KeyError:
        raise InferenceFailed(
            response.model,
            int(response.version) if response.version.isdigit() else 0,
            f"output '{name}' has elements of {array.dtype}, for which the protocol has no datatype",
        ) from None
