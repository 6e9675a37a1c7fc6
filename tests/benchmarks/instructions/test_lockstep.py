"""Requests that come all at once, each answered before the next round."""

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from benchmarks.call import Call, Door
from benchmarks.instructions import lockstep
from benchmarks.sample import LoadFailed

REQUEST_BYTES = len("POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nab")
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answering:
    """A server that reads a round of requests before it answers any of them, in two pieces."""

    def __init__(self, stack: ExitStack, clients: int, answer: bytes) -> None:
        self.seen = 0
        self._clients, self._answer = clients, answer
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port = self._listening.getsockname()[1]
        thread = threading.Thread(target=self._serve)
        thread.start()
        stack.callback(thread.join, 10)

    def _serve(self) -> None:
        with ExitStack() as stack, suppress(OSError):  # who asked may have left
            each = [stack.enter_context(self._listening.accept()[0]) for _ in range(self._clients)]
            while all(len(connection.recv(REQUEST_BYTES, socket.MSG_WAITALL)) for connection in each):
                self.seen += len(each)
                for connection in each:
                    connection.sendall(self._answer[:20])
                    connection.sendall(self._answer[20:])


def asked(answer: bytes, rounds: int) -> tuple[int, int]:
    with ExitStack() as stack:
        server = Answering(stack, 3, answer)
        call = Call(door=Door.JSON, port=server.port, path="/x", headers={}, body=b"ab")
        return lockstep.run(call, clients=3, rounds=rounds), server.seen


def test_all_send_before_any_of_them_reads():
    assert asked(GOOD, 4) == (12, 12)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (GOOD.replace(b"200 OK", b"500 Oh"), "not a good answer"),
        (b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", "without a length"),
    ],
)
def test_the_first_answer_that_is_no_good_one_ends_it(answer, why):
    with pytest.raises(LoadFailed, match=why):
        asked(answer, 1)
