"""Messages that differ from one that came before in the bytes of one raw tensor alone: known without parsing.

`server.wire.layout` for protobuf. A message of one tensor, as clients write it, ends in the entry of
`raw_input_contents`, whose length the bytes before it say. So messages of one layout have one length and
begin alike, up to where the tensor begins.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from protos import inference_pb2 as pb
from server.domain.request import InferRequest, InferResponse
from server.domain.run_outputs import Kind, RunOutputs, share_of
from server.domain.signature import Signature
from server.domain.tensors import Tensors
from server.observe.access import What
from server.wire import infer_proto
from server.wire.form import ReplyForm
from server.wire.layout import LONGEST, BinaryLayout, Read, keep, known_of
from server.wire.raw import SMALL

MOST = 1024
"""Beginnings that are kept, of all models together."""

MOST_ALIKE = 4
"""Beginnings of different lengths that are looked for in messages of one length."""


class MessageLayouts:
    """Which model a message asks, by how it begins. What it means there is kept with the model's version."""

    def __init__(self) -> None:
        self._asked: dict[bytes, tuple[str, str]] = {}
        self._lengths: dict[int, tuple[int, ...]] = {}
        self._last: tuple[bytes, str, str] = (b"", "", "")
        self._last_size = -1

    def find(self, wire: bytes) -> tuple[bytes, str, str] | None:
        """The known beginning of a message, its model and its version as written; None for any other."""
        if len(wire) == self._last_size and wire.startswith(self._last[0]):
            return self._last
        for length in self._lengths.get(len(wire), ()):
            beginning = wire[:length]
            asked = self._asked.get(beginning)
            if asked is not None:
                self._last_size, self._last = len(wire), (beginning, *asked)
                return self._last
        return None

    def keep(
        self,
        wire: bytes,
        message: pb.ModelInferRequest,
        request: InferRequest,
        form: ReplyForm,
        signature: Signature,
    ) -> None:
        """Remember a message, if its like can be told by how it begins."""
        known = known_of(request, form, signature)
        if known is None or len(known.tensors) != 1 or len(message.raw_input_contents) != 1:
            return
        content = message.raw_input_contents[0]
        length = len(wire) - len(content)
        if length > LONGEST or not wire.endswith(content) or not _stands_last(wire[:length], message):
            return
        alike = self._lengths.get(len(wire), ())
        if length not in alike:
            self._lengths[len(wire)] = (length, *alike)[:MOST_ALIKE]
        if len(self._asked) >= MOST:
            self._asked.clear()
            self._lengths = {len(wire): (length,)}
        self._asked[wire[:length]] = (message.model_name, message.model_version)
        keep(signature, wire[:length], BinaryLayout(known))


def find_message(
    wire: bytes, beginning: bytes, version: str, signature: Signature, now: float
) -> Read | None:
    """A message whose beginning is known to this version of its model; None if it is not."""
    layout = signature.remembered.get(beginning)
    if type(layout) is not BinaryLayout:
        return None
    inputs = layout.read(wire, len(beginning))
    return None if inputs is None else layout.known.request(inputs, signature.model, version, now)


@dataclass(slots=True)
class Frame:
    """An answer of one tensor: all bytes before those of the tensor, which stand last.

    size     of the tensor, in bytes
    stride   of one of its rows
    what     it is to the access log, for the door to keep
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: bytes
    kind: Kind
    size: int
    stride: int
    what: What | None = None

    def around(self, outputs: Tensors) -> bytes | None:
        """The answer that these are, None if it is another."""
        if len(outputs) != 1:
            return None
        ((name, array),) = outputs.items()
        dtype = array.dtype
        if (
            array.shape != self.shape
            or name != self.name
            or (dtype is not self.dtype and dtype != self.dtype)
        ):
            return None
        return self.begin + array.tobytes()

    def around_rows(self, shared: RunOutputs, at: int) -> bytes | None:
        """The answer that the rows from there on are, as many as its tensor has; None if it is another."""
        content = shared.content(self.kind)
        if content is None:
            return None
        start = at * self.stride
        return self.begin + content[start : start + self.size]


def frame_of(layout: BinaryLayout, model: str, version: str, outputs: Tensors) -> Frame | None:
    """What stands around such an answer to a message of this layout that named no outputs; None if it takes
    more to write it. Raises a `ServingError` if it cannot be written.

    The layout is that of one version, and keeps it.
    """
    if len(outputs) != 1:
        return None
    ((name, array),) = outputs.items()
    if array.dtype.hasobject or array.nbytes > SMALL:
        return None
    content = infer_proto.encode(InferResponse(model, version, {name: array}), layout.known.form)
    begin = content[: len(content) - array.nbytes]
    layout.frame = frame = Frame(name, array.dtype, array.shape, begin, *share_of(name, array))
    return frame


def _stands_last(beginning: bytes, message: pb.ModelInferRequest) -> bool:
    """Whether `beginning` says all of the message but the bytes of its one tensor, which follow it."""
    size = len(message.raw_input_contents[0])
    try:
        emptied = pb.ModelInferRequest.FromString(beginning + bytes(size))
    except DecodeError:
        return False
    if list(emptied.raw_input_contents) != [bytes(size)]:
        return False
    emptied.raw_input_contents[0] = message.raw_input_contents[0]
    return emptied == message
