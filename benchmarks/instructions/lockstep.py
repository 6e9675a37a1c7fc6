"""Requests over HTTP that come all at once: each connection sends one, and then all wait for their answers.

The server is stopped while they send, so that it finds all of them, however slow it is: two servers that take
what has come are asked alike.
"""

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

import psutil

from benchmarks.call import HOST, Call
from benchmarks.sample import LoadFailed

ANSWER_DEADLINE_S = 60
STOP_DEADLINE_S = 5
CHUNK = 65_536
HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


def run(call: Call, server: int, *, clients: int, rounds: int) -> int:
    """Requests that the process has answered. Raises `LoadFailed` at the first without status 200."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
    head = f"POST {call.path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}Content-Length: {len(call.body)}\r\n\r\n"
    request = head.encode() + call.body
    with ExitStack() as stack:
        connections = [_connection(stack, call.port) for _ in range(clients)]
        for _ in range(rounds):
            _round(connections, request, psutil.Process(server))
    return clients * rounds


def _connection(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection((HOST, port), timeout=ANSWER_DEADLINE_S))


def _round(connections: Sequence[socket.socket], request: bytes, server: psutil.Process) -> None:
    try:
        _stop(server)
        try:
            for connection in connections:
                connection.sendall(request)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        for connection in connections:
            _read(connection)
    except OSError as error:
        raise LoadFailed(f"a connection was lost: {error}") from error


def _stop(server: psutil.Process) -> None:
    """And wait until it stands. Raises `LoadFailed` if it does not."""
    os.kill(server.pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while server.status() != psutil.STATUS_STOPPED:
        if time.monotonic() > deadline:
            os.kill(server.pid, signal.SIGCONT)
            raise LoadFailed(f"process {server.pid} cannot be stopped")


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
