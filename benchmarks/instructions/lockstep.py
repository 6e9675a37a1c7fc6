"""Requests over HTTP that come all at once: each connection sends one, and then all wait for their answers.

A server that takes what has come finds as much each time, however slow it is, so two servers are asked alike.
"""

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.call import HOST, Call
from benchmarks.sample import LoadFailed

ANSWER_DEADLINE_S = 60
CHUNK = 65_536
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


def run(call: Call, *, clients: int, rounds: int) -> int:
    """Requests that were answered. Raises `LoadFailed` at the first answer that is none with status 200."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
    head = f"POST {call.path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}Content-Length: {len(call.body)}\r\n\r\n"
    request = head.encode() + call.body
    with ExitStack() as stack:
        connections = [_connection(stack, call.port) for _ in range(clients)]
        for _ in range(rounds):
            _round(connections, request)
    return clients * rounds


def _connection(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection((HOST, port), timeout=ANSWER_DEADLINE_S))


def _round(connections: Sequence[socket.socket], request: bytes) -> None:
    try:
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            _read(connection)
    except OSError as error:
        raise LoadFailed(f"a connection was lost: {error}") from error


def _read(connection: socket.socket) -> None:
    answer = b""
    while HEAD_END not in answer or len(answer) < _size(answer):
        part = connection.recv(CHUNK)
        if not part:
            raise LoadFailed(f"a connection ended within an answer: {answer[:100]!r}")
        answer += part
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise LoadFailed(f"not a good answer: {answer[:200]!r}")


def _size(answer: bytes) -> int:
    """Of the whole answer. Raises `LoadFailed` where its head does not say."""
    head = answer[: answer.index(HEAD_END)]
    for line in head.lower().split(b"\r\n"):
        if line.startswith(LENGTH):
            return len(head) + len(HEAD_END) + int(line[len(LENGTH) :])
    raise LoadFailed(f"an answer without a length: {head[:200]!r}")
