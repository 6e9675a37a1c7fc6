"""HTTP as it goes over the wire: what is sent is sent to the byte, and answers are read one by one."""

import json
import select
import socket
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote

from tests.server_process import Server

PATIENCE_S = 10.0


class Closed(Exception):
    """The server has closed the connection, or reset it, before a whole answer was there."""


class Answer(NamedTuple):
    """One answer; `headers` have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of a refusal. Fails where the body is not JSON with the one key `error`.

        A server or a model that is not ready says so under the key that its clients read, too.
        """
        assert self.headers["content-type"] == "application/json", self
        document = json.loads(self.body)
        assert document.keys() - {"ready", "name"} == {"error"}, document
        if document.keys() != {"error"}:
            assert document["ready"] is False, document
        sentence = document["error"]
        assert isinstance(sentence, str), sentence
        assert sentence
        return sentence


class Line:
    """One connection to a server. Nothing that it reads takes longer than `PATIENCE_S`."""

    def __init__(self, server: Server) -> None:
        host, _, port = server.http.partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """As much of it as the server takes: one that refuses early says so in its answer."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def send_no_more(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self, *, to: str = "GET") -> Answer:
        """The next answer, to a request with this method. Raises `Closed` if none comes."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        size = 0 if to == "HEAD" or status == 100 else int(headers["content-length"])
        while len(self._read) < size:
            self._receive()
        body, self._read = self._read[:size], self._read[size:]
        return Answer(status, headers, body)

    def has_something_to_say(self, *, within_s: float) -> bool:
        """Whether there is something to read, waiting so long for it."""
        return bool(self._read) or bool(select.select([self._socket], [], [], within_s)[0])

    def ended(self) -> bool:
        """Whether the server has nothing more to say and closes. Waits for that, in vain if it stays open."""
        try:
            while not self._read:
                self._receive()
        except Closed:
            return True
        except TimeoutError:
            return False
        return False

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            self._receive()
        found, _, self._read = self._read.partition(mark)
        return found

    def _receive(self) -> None:
        try:
            received = self._socket.recv(65_536)
        except ConnectionResetError:
            raise Closed from None
        if not received:
            raise Closed
        self._read += received


def request(
    path: str, body: bytes = b"", *headers: str, method: str = "POST", version: str = "1.1", size: int = -1
) -> bytes:
    """A request with its Content-Length, which `size` may falsify."""
    length = len(body) if size < 0 else size
    head = [f"{method} {path} HTTP/{version}", "Host: tercet", *headers, f"Content-Length: {length}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def in_chunks(path: str, chunks: list[bytes], *headers: str, method: str = "POST") -> bytes:
    """The same without a length: a body in chunks."""
    head = [f"{method} {path} HTTP/1.1", "Host: tercet", *headers, "Transfer-Encoding: chunked"]
    pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"


def to_model(model: str, *rest: str) -> str:
    """The path of a model, as clients write it."""
    return "/".join(["/v2/models", quote(model, safe=""), *rest])
