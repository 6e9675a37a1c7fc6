"""One tensor object of a JSON body: its name, datatype, shape, and its elements if they are there."""

from typing import Any

from server.domain.errors import InvalidRequest, NotSupported
from server.domain.tensors import DATATYPES, Array, Datatype
from server.wire import parameters, values
from server.wire.raw import Buffer, decode, written

_ONLY_BINARY = frozenset({"FP16", "BF16"})


def name_of(tensor: Any, kind: str, model: str) -> str:
    """The name in an object of the list of inputs or outputs, which `kind` says."""
    if type(tensor) is not dict:
        raise InvalidRequest(
            f"each {kind} for model '{model}' must be an object, but one is {values.kind_of(tensor)}"
        )
    name = tensor.get("name")
    if type(name) is not str or not name:
        raise InvalidRequest(f"an {kind} for model '{model}' has no 'name'")
    return name


def datatype_of(tensor: dict[str, Any], what: str) -> Datatype:
    name = tensor.get("datatype")
    if type(name) is str and (datatype := DATATYPES.get(name)) is not None:
        return datatype
    if name is None:
        raise InvalidRequest(f"{what} has no 'datatype'")
    raise InvalidRequest(f"{what} has datatype {values.shown(name)}, which is none of {', '.join(DATATYPES)}")


def shape_of(tensor: dict[str, Any], what: str) -> list[int]:
    shape = tensor.get("shape")
    if type(shape) is not list:
        raise InvalidRequest(
            f"{what} has no 'shape'" if shape is None else f"'shape' of {what} must be a list"
        )
    for size in shape:
        if type(size) is not int or size < 0:
            raise InvalidRequest(
                f"'shape' of {what} must be whole numbers from 0 on, but has {values.shown(size)}"
            )
    return shape


def parameters_of(holder: dict[str, Any], what: str) -> dict[str, Any]:
    found = holder.get("parameters")
    if found is None:
        return {}
    if type(found) is not dict:
        raise InvalidRequest(f"'parameters' of {what} must be an object, but is {values.kind_of(found)}")
    return found


def elements_of(tensor: dict[str, Any], datatype: Datatype, shape: list[int], what: str) -> Array:
    """The array of `data`, of any datatype."""
    data = tensor.get("data")
    if type(data) is not list:
        if data is None:
            raise InvalidRequest(f"{what} has no data: neither 'data' nor 'binary_data_size'")
        raise InvalidRequest(f"'data' of {what} must be a list, but is {values.kind_of(data)}")
    return values.array_of(data, datatype, shape, what)


def read_input(tensor: Any, body: Buffer, at: int, model: str) -> tuple[str, Array, int]:
    """One input: its name, its array, and where in `body` the bytes of the next one begin.

    Bytes are viewed in `body`, from `at` on. Raises `InvalidRequest`, or `NotSupported` for shared memory.
    """
    name = name_of(tensor, "input", model)
    what = f"input '{name}' for model '{model}'"
    datatype = datatype_of(tensor, what)
    shape = shape_of(tensor, what)
    given = parameters_of(tensor, what)
    if given:
        if parameters.names_shared_memory(given):
            raise NotSupported(f"{what} is in shared memory, which this server does not offer")
        if "binary_data_size" in given:
            if tensor.get("data") is not None:
                raise InvalidRequest(f"{what} has both 'data' and 'binary_data_size'")
            size = parameters.whole(given, "binary_data_size", what)
            if size > len(body) - at:
                raise InvalidRequest(
                    f"{what} of shape {written(shape)} has 'binary_data_size' {size}, "
                    f"but only {len(body) - at} bytes of the body are left"
                )
            return name, decode(body, at, size, datatype, shape, what), at + size
    if datatype.name in _ONLY_BINARY:
        raise InvalidRequest(f"{what} is {datatype.name}, which must be sent as binary data, not as JSON")
    return name, elements_of(tensor, datatype, shape, what), at
