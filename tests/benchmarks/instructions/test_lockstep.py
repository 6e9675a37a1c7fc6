"""Requests that come all at once, each answered before the next round."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.call import Call, Door
from benchmarks.instructions import lockstep
from benchmarks.sample import LoadFailed

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
SERVER = """
import selectors, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
answer = bytes.fromhex(sys.argv[1])
waiting = selectors.DefaultSelector()
for _ in range(3):
    waiting.register(listening.accept()[0], selectors.EVENT_READ)
while True:
    ready = waiting.select()
    print(len(ready), flush=True)
    for key, _ in ready:
        if not key.fileobj.recv(65536):
            sys.exit()
        key.fileobj.sendall(answer[:20])
        key.fileobj.sendall(answer[20:])
"""
"""Reads what has come, says how many requests those were, and answers each in two pieces."""


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[subprocess.Popen[str], Call]]:
    command = [sys.executable, "-c", SERVER, answer.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield process, Call(door=Door.JSON, port=port, path="/x", headers={}, body=b"ab")
        finally:
            process.kill()


def test_the_server_finds_the_requests_of_all_at_once():
    with answering(GOOD % 2 + b"ok") as (process, call):
        assert lockstep.run(call, process.pid, clients=3, rounds=20) == 60
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(20)] == ["3\n"] * 20


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "not a good answer"),
        (b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", "without a length"),
    ],
)
def test_the_first_answer_that_is_no_good_one_ends_it(answer, why):
    with answering(answer) as (process, call), pytest.raises(LoadFailed, match=why):
        lockstep.run(call, process.pid, clients=3, rounds=1)
