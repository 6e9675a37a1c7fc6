"""A version's own `pre.py` and `post.py`: plain Python that turns named arrays into named arrays.

    setup(context)                           optional, called once before the first request
    preprocess(inputs), postprocess(outputs) dict of arrays -> dict of arrays
    preprocess(inputs, request)              the same, told what else the client asked; postprocess alike
    INPUTS of pre.py, OUTPUTS of post.py     optional: what clients see, where the model's own
                                             inputs or outputs differ

`raise ValueError("sentence")` says that the request is at fault; any other exception is the code's.
"""

import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from runtimes import requirements
from runtimes.errors import InputRefused, ModelBroken, RunFailed
from runtimes.tensors import DATATYPES, VARIABLE, Array, Tensors, TensorSpec, datatype_of

_serial = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What `setup` is told.

    directory    the version's folder, to read files from
    parameters   free strings of the model's configuration
    """

    model: str
    version: int
    directory: Path
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a function that takes a second argument is told of the request.

    id           the client's own; where it gave none, the one that the server's log uses
    parameters   those that the protocol leaves to the model, `sequence_*` among them; read-only
    priority     1 is the highest; 0 is the model's default
    """

    id: str = ""
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=lambda: MappingProxyType({}))
    priority: int = 0


NO_REQUEST = Request()
"""Stands in where no client asked, as for a golden example."""


class Code:
    """One opened file. `run` may be called from several threads at once, as the file's author must know.

    contract        the tensors that clients see on this side of the model; None for the model's own
    takes_request   whether the function wants to know more of a request than its arrays
    """

    def __init__(
        self,
        module: ModuleType,
        function: str,
        contract: tuple[TensorSpec, ...] | None,
        takes_request: bool,
    ) -> None:
        self.contract = contract
        self.takes_request = takes_request
        self._module = module
        self._name = function
        self._function: Callable[..., Any] = getattr(module, function)
        self._lock = threading.Lock()
        self._runs = 0
        self._closed = False

    def run(self, arrays: Tensors, request: Request = NO_REQUEST) -> dict[str, Array]:
        """Call the function on these arrays; `request` is passed on where the function takes it.

        Raises `InputRefused` in the words of a `ValueError`, or `RunFailed` with the cause attached.
        """
        with self._lock:
            self._runs += 1
        try:
            return self._call((dict(arrays), request) if self.takes_request else (dict(arrays),))
        finally:
            with self._lock:
                self._runs -= 1
                self._give_back()

    def close(self) -> None:
        """Forget the module: no run follows. What it holds is given back when the last run has ended."""
        sys.modules.pop(self._module.__name__, None)
        with self._lock:
            self._closed = True
            self._give_back()

    def _give_back(self) -> None:
        """A module and its functions hold each other, and the garbage collector may come late."""
        if self._closed and not self._runs:
            self._module.__dict__.clear()

    def _call(self, arguments: tuple[Any, ...]) -> dict[str, Array]:
        try:
            returned = self._function(*arguments)
        except ValueError as error:
            raise InputRefused(str(error)) from error
        except (Exception, SystemExit) as error:  # a model's code must not end the server
            raise RunFailed(f"{self._name} raised {type(error).__name__}: {error}") from error
        if not isinstance(returned, Mapping):
            raise RunFailed(f"{self._name} returned a {type(returned).__name__}, not a dict of arrays")
        return {self._named(name): self._array(name, value) for name, value in returned.items()}

    def _named(self, name: object) -> str:
        if isinstance(name, str):
            return name
        raise RunFailed(f"{self._name} returned a dict with the key {name!r}, which is not a name")

    def _array(self, name: str, value: Any) -> Array:
        try:
            return as_tensor(value)
        except (TypeError, ValueError) as error:
            raise RunFailed(f"{self._name} returned '{name}' as {error}") from error


def open_pre(path: Path, context: Context) -> Code:
    """Open a `pre.py`. Raises `ModelBroken`, naming the file and the line."""
    return _open(path, context, "preprocess", "INPUTS")


def open_post(path: Path, context: Context) -> Code:
    """Open a `post.py`. Raises `ModelBroken`, naming the file and the line."""
    return _open(path, context, "postprocess", "OUTPUTS")


def as_tensor(value: Any) -> Array:
    """A C-contiguous, little-endian array of a protocol datatype; the value itself where it is one.

    Text becomes UTF-8 bytes. Raises `TypeError` or `ValueError` whose message completes
    "returned 'x' as ...".
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "S" and not isinstance(value, np.ndarray):
            array = np.asarray(value, np.object_)  # fixed-width bytes would lose trailing zeros
    except ValueError:
        raise ValueError("a nested list whose rows differ in length") from None
    if array.dtype.kind in "SUO":
        return _texts(array)
    if array.dtype.byteorder == ">" or not array.flags.c_contiguous:
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    try:
        datatype_of(array)
    except KeyError:
        raise TypeError(f"{array.dtype}, which no datatype of the protocol carries") from None
    return array


def _texts(array: Array) -> Array:
    flat = array.astype(np.object_).ravel()
    for position, element in enumerate(flat):
        if isinstance(element, str):
            flat[position] = element.encode()
        elif not isinstance(element, bytes):
            raise TypeError(f"objects with a {type(element).__name__} among them, not text or bytes")
    return flat.reshape(array.shape)


def _open(path: Path, context: Context, function: str, contract: str) -> Code:
    requirements.check(context.directory)
    module = ModuleType(f"{context.model}.{context.version}.{path.stem}.{next(_serial)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses, pickle and typing look modules up by name
    try:
        try:
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
            if not callable(getattr(module, function, None)):
                raise ModelBroken(f"{path.name} has no function {function}")
            if hasattr(module, "setup"):
                module.setup(context)
        except (ModelBroken, KeyboardInterrupt):
            raise
        except BaseException as error:  # sys.exit too: a model's code must not end the server
            raise ModelBroken(f"{_place(path, error)}: {_raised(error)}") from error
        return Code(
            module,
            function,
            _contract(path, contract, getattr(module, contract, None)),
            _takes_request(path, function, getattr(module, function)),
        )
    except BaseException:
        del sys.modules[module.__name__]
        raise


def _takes_request(path: Path, name: str, function: Callable[..., Any]) -> bool:
    """Whether the request is the function's second argument: what is required, or is named `request`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables that are not written in Python do not say
        return False
    alone, told = _binds(signature, 1), _binds(signature, 2)
    if told and (not alone or list(signature.parameters)[1:2] == ["request"]):
        return True
    if alone:
        return False
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
    raise ModelBroken(
        f"{path.name}{f' line {line}' if line else ''}: {name}{signature} is to take the arrays, "
        "or the arrays and the request"
    )


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _place(path: Path, error: BaseException) -> str:
    """The file and the last of its lines that had a part in this."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path.name} line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f"{path.name} line {lines[-1]}" if lines else path.name


def _raised(error: BaseException) -> str:
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _contract(path: Path, variable: str, entries: Any) -> tuple[TensorSpec, ...] | None:
    if entries is None:
        return None
    if not isinstance(entries, (list, tuple)):
        raise ModelBroken(f"{variable} in {path.name} is a {type(entries).__name__}, not a list of tensors")
    return tuple(_declared(f"{variable}[{i}] in {path.name}", entry) for i, entry in enumerate(entries))


def _declared(where: str, entry: Any) -> TensorSpec:
    if not isinstance(entry, dict) or entry.keys() != {"name", "datatype", "shape"}:
        raise ModelBroken(f"{where} is to have a name, a datatype and a shape, and nothing else")
    name, datatype, shape = entry["name"], entry["datatype"], entry["shape"]
    if not isinstance(name, str) or not name:
        raise ModelBroken(f"{where} has the name {name!r}, which is not text")
    if datatype not in DATATYPES:
        raise ModelBroken(f"{where} has the datatype {datatype!r}; there are {', '.join(DATATYPES)}")
    if not isinstance(shape, (list, tuple)) or not all(
        type(size) is int and size >= VARIABLE for size in shape
    ):
        raise ModelBroken(f"{where} has the shape {shape!r}; it is a list of sizes, -1 where variable")
    return TensorSpec(name, datatype, tuple(shape))
