"""What no request may do, whatever it is: the judgement of every test in this folder."""

from types import TracebackType
from typing import Self

from grpc import StatusCode

from tests.contract.line import Answer
from tests.contract.question import JSON, RAW, Question, filled
from tests.contract.rows import Asker, Ended
from tests.server_process import Server

LATE = "Request timeout expired"
"""What those hear who ask for a millionth of a second."""
NOT_ALLOWED = "explicit model load / unload is not allowed"
"""What those hear who give an order to a server that takes none."""
NOT_LOADED = "failed to load '"
"""What those hear who order a model that there is not: Triton's 500, word for word."""

OURS = {StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}
"""Codes that would say that the fault is the server's, or that it did not answer."""

MOST_GROWTH_BYTES = 48 * 2**20
"""Of the server's memory while one test asks, however many cases it has. More than nothing, as the collector
comes seldom, and as the allocator keeps what the largest case has taken."""

GOOD = Question("double", [filled("x", "FP32", 2, 4)])


def is_sound(answer: Answer) -> bool:
    """Answered, or refused in the one shape, and not for a fault of the server's own."""
    if answer.status == 200:
        return True
    return bool(answer.error) and (
        answer.status < 500
        or answer.status == 501
        or (answer.status == 504 and LATE in answer.error)
        or (answer.status == 503 and NOT_ALLOWED in answer.error)
    )


def is_sound_call(ended: Ended) -> bool:
    """The same of a call."""
    if ended.status is StatusCode.OK:
        return True
    return bool(ended.details) and (ended.status not in OURS or LATE in ended.details)


class Watched:
    """A server that is asked in a block: when that is left, it is as it was, and answers `good` alike."""

    def __init__(self, server: Server, good: Question = GOOD) -> None:
        self._server = server
        self._good = good

    def __enter__(self) -> Self:
        self._answers = self._asked()
        self._rss_bytes = self._server.rss_bytes()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        assert self._server.returncode is None, self._server.log[-4000:]
        assert self._asked() == self._answers
        grown = self._server.rss_bytes() - self._rss_bytes
        assert grown < MOST_GROWTH_BYTES, f"{grown} bytes more than before"
        log = self._server.log
        assert "request_crashed" not in log
        assert "Traceback" not in log

    def _asked(self) -> tuple[bytes, bytes]:
        """What the good request is answered by either door, of a server that is ready."""
        assert self._server.ready()
        asker = Asker(self._server)
        over_http = asker.rest(self._good.over_http(JSON))
        over_grpc = asker.call("ModelInfer", self._good.over_grpc(RAW).SerializeToString())
        asker.close()
        assert (over_http.status, over_grpc.status) == (200, StatusCode.OK)
        return over_http.body, over_grpc.answer
