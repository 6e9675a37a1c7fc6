"""What a row of the tables is: something wrong, and the refusal that the contract has for it."""

from typing import NamedTuple

import grpc
from grpc import StatusCode

from tests.contract.line import Answer, Closed, Line
from tests.server_process import Server

SERVICE = "inference.GRPCInferenceService"


class Codes(NamedTuple):
    """One row of the table of errors: what a refusal is called by either protocol, as in Triton."""

    http: int
    grpc: StatusCode


INVALID = Codes(400, StatusCode.INVALID_ARGUMENT)
NOT_FOUND = Codes(404, StatusCode.NOT_FOUND)
UNAVAILABLE = Codes(503, StatusCode.UNAVAILABLE)
UNSUPPORTED = Codes(501, StatusCode.UNIMPLEMENTED)
INTERNAL = Codes(500, StatusCode.INTERNAL)
OVERLOADED = Codes(429, StatusCode.RESOURCE_EXHAUSTED)
TOO_LATE = Codes(504, StatusCode.DEADLINE_EXCEEDED)
TOO_LARGE = Codes(413, StatusCode.RESOURCE_EXHAUSTED)


class Rest(NamedTuple):
    """A request as it goes over the wire; `says` is a piece of the sentence that refuses it."""

    title: str
    sent: bytes
    status: int
    says: str
    method: str = "POST"


class Call(NamedTuple):
    """A unary call with these bytes for its message; `method` is a full path, or a name of our service."""

    title: str
    method: str
    sent: bytes
    status: StatusCode
    says: str


class Ended(NamedTuple):
    """How a call ended; the status is OK if it was answered."""

    status: StatusCode
    details: str
    answer: bytes


class Asker:
    """One connection to each door, kept as long as the server keeps it: what is wrong must not spoil it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._line: Line | None = None
        self.channel = grpc.insecure_channel(server.grpc)

    def close(self) -> None:
        self.channel.close()
        self._drop_line()

    def put(self, row: "Rest | Call") -> str:
        """Ask what a row has; how the answer differs from what the row says, or nothing if it does not."""
        if isinstance(row, Call):
            ended = self.call(row.method, row.sent)
            if ended.status is row.status and row.says in ended.details:
                return ""
            return f"{row.title}: {ended.status}, {ended.details!r} for {row.status}, {row.says!r}"
        try:
            answer = self.rest(row.sent, row.method)
        except (Closed, TimeoutError) as end:
            return f"{row.title}: no answer, but {type(end).__name__}"
        sentence = row.says if row.method == "HEAD" else answer.error
        if answer.status == row.status and row.says in sentence:
            return ""
        return f"{row.title}: {answer.status}, {sentence!r} for {row.status}, {row.says!r}"

    def rest(self, sent: bytes, method: str = "POST") -> Answer:
        """The answer to a request. Raises `Closed` if the server closes without having said so."""
        if self._line is None:
            self._line = Line(self._server)
        self._line.send(sent)
        try:
            answer = self._line.answer(to=method)
        except (Closed, TimeoutError):
            self._drop_line()
            raise
        if answer.headers.get("connection") == "close":
            assert self._line.ended()
            self._drop_line()
        return answer

    def call(self, method: str, sent: bytes) -> Ended:
        path = method if method.startswith("/") else f"/{SERVICE}/{method}"
        try:
            return Ended(StatusCode.OK, "", self.channel.unary_unary(path)(sent, timeout=10))
        except grpc.RpcError as refusal:
            return Ended(refusal.code(), refusal.details() or "", b"")

    def _drop_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
