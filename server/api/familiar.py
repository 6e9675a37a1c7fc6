"""A request that comes again with other numbers: all that is known beforehand of it, and of its answer.

A client asks one model in one shape over one connection. So all bytes of a request are those of one before
it but for the elements of its tensors, and nearly all of its answer's, too. Such a request goes straight from
the bytes that were read to the queue, and from the run's outputs to the bytes that are written. Whatever is
not exactly so goes the way that reads.
"""

from dataclasses import dataclass

import numpy as np

from server.api.answer_head import good_head
from server.api.heads import Head
from server.api.infer_door import WORTH_PACKING
from server.domain.errors import ServingError
from server.domain.request import FOREVER, InferResponse
from server.domain.run_outputs import Kind, RunOutputs, share_of
from server.domain.signature import Signature
from server.domain.tensors import Array, Tensors
from server.observe.access import What
from server.wire import infer_http, json_text
from server.wire.layout import Layout, Read
from server.wire.raw import SMALL

MOST = 1024
LONGEST = 3072
"""Requests that are kept, and bytes of each. Anybody may send them, so neither is without bound."""

MOST_ALIKE = 4
"""Beginnings of different lengths that are looked for in requests of one length."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the one tensor of an answer; `behind` is None if it is bytes, and nothing does.

    begin    with the HTTP head where its size is always the same, as it is with bytes
    size     of the tensor, in bytes
    stride   of one of its rows
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    begin: bytes
    behind: bytes | None
    kind: Kind
    size: int
    stride: int


class Familiar:
    """What each request has in common that begins with the same bytes.

    head        what its head says
    begin       the bytes that are known, up to where the elements begin
    size        of the whole request
    layout      how the elements lie
    signature   that it was read for: for another it may mean something else
    timeout_s   within which it is to be answered
    what        it is to the access log, once it was answered well
    """

    __slots__ = (
        "_frame",
        "begin",
        "body_at",
        "head",
        "layout",
        "rows",
        "signature",
        "size",
        "timeout_s",
        "what",
    )

    def __init__(self, head: Head, begin: bytes, size: int, layout: Layout, signature: Signature) -> None:
        self.head = head
        self.begin = begin
        self.size = size
        self.body_at = size - head.size
        self.layout = layout
        self.signature = signature
        self.rows = layout.known.rows
        timeout_s = head.wishes.timeout_s
        self.timeout_s = FOREVER if timeout_s is None else timeout_s
        self._frame: Frame | None = None
        self.what: What | None = None

    def inputs(self, data: bytes) -> Tensors | None:
        """The tensors in one more of these requests; None if they are to be read with more care."""
        return self.layout.read(data, len(self.begin))

    def request(self, inputs: Tensors, now: float) -> Read:
        """In the words of every other one, with the form of its answer."""
        head = self.head
        request, form = self.layout.known.request(
            dict(inputs), self.signature.model, head.target.version, now
        )
        request.client = head.wishes.client
        request.deadline = now + self.timeout_s
        return request, form

    def answer(self, version: str, outputs: Tensors) -> bytes | None:
        """All bytes of a good answer, on a connection that stays; None if it takes more to write it.

        `version` is the number of the one that the signature belongs to.
        """
        if len(outputs) != 1:
            return None
        ((name, array),) = outputs.items()
        frame, dtype = self._frame, array.dtype
        if (
            frame is None
            or array.shape != frame.shape
            or name != frame.name
            or (dtype is not frame.dtype and dtype != frame.dtype)
        ):
            frame = self._frame = self._framed(version, name, array)
        if frame is None:
            return None
        if frame.behind is None:
            return frame.begin + array.tobytes()
        return self._in_text(frame, json_text.write_elements(array)[1:-1])

    def answer_rows(self, version: str, shared: RunOutputs, at: int) -> bytes | None:
        """The same of the rows of a run from there on, as many as the request has."""
        frame = self._frame
        if frame is not None and frame.behind is None:
            content = shared.content(frame.kind)
            if content is not None:
                start = at * frame.stride
                return frame.begin + content[start : start + frame.size]
        elif frame is not None:
            texts = json_text.rows_of(shared, frame.kind)
            if texts is not None:
                rows = self.rows
                return self._in_text(frame, texts[at] if rows == 1 else b",".join(texts[at : at + rows]))
        return self.answer(version, shared.rows(at, self.rows))

    def _in_text(self, frame: Frame, text: bytes) -> bytes | None:
        """The whole answer around its elements, which have no brackets."""
        assert frame.behind is not None
        body = frame.begin + text + frame.behind
        size = len(body)
        return good_head(size, None, b"", True) + body if size < self._most else None

    @property
    def _most(self) -> int:
        """Bytes of an answer from which on it might be packed, or is worth more care."""
        return SMALL if self.head.wishes.accept_encoding is None else WORTH_PACKING

    def _framed(self, version: str, name: str, array: Array) -> Frame | None:
        """Written as any other is, and taken apart."""
        known = self.layout.known
        if array.dtype.hasobject or array.nbytes >= self._most or known.outputs not in ((), (name,)):
            return None
        response = InferResponse(self.signature.model, version, {name: array})
        try:
            length, pieces = infer_http.encode(response, known.form)
        except ServingError:
            return None  # the way that writes says so
        share = share_of(name, array)
        if length is None:
            begin, _, behind = map(bytes, pieces)
            begin, behind = begin + b"[", b"]" + behind
            return Frame(name, array.dtype, array.shape, begin, behind, *share)
        begin, tensor = map(bytes, pieces)
        size = length + len(tensor)
        if size >= self._most:
            return None
        head = good_head(size, length, b"", True)
        return Frame(name, array.dtype, array.shape, head + begin, None, *share)


class Familiars:
    """Those that have come, by how they begin."""

    def __init__(self) -> None:
        self._known: dict[bytes, Familiar] = {}
        self._begins: dict[int, tuple[int, ...]] = {}

    def find(self, data: bytes) -> Familiar | None:
        """If `data` is one whole request that differs from one before in its elements alone."""
        for at in self._begins.get(len(data), ()):
            familiar = self._known.get(data[:at])
            if familiar is not None and familiar.size == len(data):
                return familiar
        return None

    def keep(self, familiar: Familiar) -> None:
        at = len(familiar.begin)
        if at > LONGEST:
            return
        if len(self._known) >= MOST:
            self._known.clear()
            self._begins.clear()
        alike = self._begins.get(familiar.size, ())
        if at not in alike:
            self._begins[familiar.size] = (at, *alike)[:MOST_ALIKE]
        self._known[familiar.begin] = familiar
