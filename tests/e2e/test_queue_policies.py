"""Triton's queue policies, by Triton's own client: who goes first, who waits how long, and who is refused.

What has to come in order goes by one stream; what is to be refused by calls of its own, which have a status.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.e2e.workshop import put, slow
from tests.server_process import Server, running

ONE = "max_batch_size: 1\ninstance_group { kind: KIND_CPU count: 1 }\n"
TWO = "max_batch_size: 1\ninstance_group { kind: KIND_CPU count: 2 }\n"
LEVELS = """
dynamic_batching {
  priority_levels: 4
  default_priority_level: 2
  priority_queue_policy { key: 1 value { max_queue_size: 1 } }
  priority_queue_policy { key: 3 value { default_timeout_microseconds: 100000 } }
}
"""
DELAYS = """
dynamic_batching {
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 500000 }
}
"""
SHORT = """
dynamic_batching {
  default_queue_policy { default_timeout_microseconds: 150000 allow_timeout_override: true }
}
"""
LONG = SHORT.replace("150000", "60000000")
ORDERED = "dynamic_batching { preserve_ordering: true }"
MODELS = {
    "levels": ONE + LEVELS,
    "delays": ONE + DELAYS,
    "short": ONE + SHORT,
    "long": ONE + LONG,
    "ordered": TWO + ORDERED,
    "hasty": TWO,
    "unbounded": ONE,
}
ROW_BYTES = 8
MOST_BYTES = 6 * ROW_BYTES
"""Of the inputs that may wait for a model."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name, config in MODELS.items():
        put(folder, name, slow(), config)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = [f"--max-queue-bytes={MOST_BYTES}"]
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=options) as server:
        yield server


@pytest.fixture(scope="module")
def like_triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = [f"--max-queue-bytes={MOST_BYTES}", "--overload-status=triton"]
    with running(tmp_path_factory.mktemp("log") / "log", repository, options=options) as server:
        yield server


@pytest.fixture(scope="module")
def second(server: Server) -> int:
    """So many rounds of the model take about that long, on this machine as it is now."""
    took_s = []
    for _ in range(3):
        began = time.monotonic()
        tensor = {"name": "rounds", "shape": [1, 1], "datatype": "INT64", "data": [1000]}
        answer = server.client.post("/v2/models/hasty/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200
        took_s.append(time.monotonic() - began)
    return int(1000 / min(took_s))


class Line:
    """Requests to one model, each named, and the names of those that were answered, in order."""

    def __init__(self, server: Server, model: str, client: triton.InferenceServerClient) -> None:
        self._server = server
        self._model = model
        self._client = client
        self._sent = 0
        self._failed: list[str] = []
        self.answered: list[str] = []

    def send(self, name: str, rounds: int = 1, **how: int) -> None:
        """By the stream: after all that was sent before."""
        self._sent += 1
        self._client.async_stream_infer(self._model, [_rounds(rounds)], request_id=name, **how)

    def wait(self, name: str, rounds: int = 1, **how: int) -> None:
        """Send a request, and see it wait."""
        self.send(name, rounds, **how)
        self.waiting(self._sent - 1)

    def waiting(self, count: int) -> None:
        """See so many wait: all that was sent but `first`."""
        self._server.until(lambda: self._told("waiting") == count, within_s=10, every_s=0.005)

    def runs(self) -> None:
        """See a run under way."""
        self._server.until(lambda: self._told("running") == 1, within_s=10, every_s=0.005)

    def _told(self, what: str) -> int:
        path = f"/v2/models/{self._model}/scheduling"
        number: int = self._server.client.get(path).json()["versions"][0][what]
        return number

    def refusal(self, **how: int) -> str:
        """The status of a call that is refused while the others wait."""
        with pytest.raises(InferenceServerException) as refused:
            self._client.infer(self._model, [_rounds(1)], **how)
        assert "first" not in self.answered, "it is told at once, and not when its turn would come"
        return str(refused.value.status()).removeprefix("StatusCode.")

    def until(self, name: str) -> None:
        self._server.until(lambda: name in self.answered, every_s=0.005)

    def all_came(self) -> None:
        self._server.until(lambda: len(self.answered) + len(self._failed) == self._sent, every_s=0.005)
        assert self._failed == []

    def hear(self, result: Any, error: Any) -> None:
        if error is None:
            self.answered.append(result.get_response().id)
        else:
            self._failed.append(str(error))


def _rounds(rounds: int) -> triton.InferInput:
    tensor = triton.InferInput("rounds", [1, 1], "INT64")
    tensor.set_data_from_numpy(np.full((1, 1), rounds, np.int64))
    return tensor


@contextmanager
def busy(server: Server, model: str, rounds: int) -> Iterator[Line]:
    """The model is given `first` to do. Left when all that was sent by the stream is answered."""
    with triton.InferenceServerClient(server.grpc) as client:
        line = Line(server, model, client)
        client.start_stream(line.hear)
        try:
            line.send("first", rounds)
            line.runs()
            yield line
            line.all_came()
        finally:
            client.stop_stream()


def executions(server: Server, model: str) -> int:
    (stats,) = server.client.get(f"/v2/models/{model}/stats").json()["model_stats"]
    count: int = stats["execution_count"]
    return count


def test_the_highest_level_goes_first_and_the_lowest_last(server: Server, second: int):
    with busy(server, "levels", second) as line:
        line.wait("low", priority=4)
        line.send("usual")
        line.send("high", priority=1)
        line.send("one that is not there", priority=9)
        line.waiting(4)
    assert line.answered == ["first", "high", "usual", "one that is not there", "low"]


def test_each_level_has_its_own_bound(server: Server, second: int):
    with busy(server, "levels", second) as line:
        line.wait("one", priority=1)
        assert line.refusal(priority=1) == "RESOURCE_EXHAUSTED"
        line.send("two", priority=2)
        line.send("three", priority=2)
        line.waiting(3)
    assert line.answered == ["first", "one", "two", "three"]


def test_each_level_has_its_own_time(server: Server, second: int):
    before = executions(server, "levels")
    with busy(server, "levels", second) as line:
        line.wait("patient", priority=2)
        assert line.refusal(priority=3) == "DEADLINE_EXCEEDED"
    assert line.answered == ["first", "patient"]
    assert executions(server, "levels") == before + 2, "what is late is not run"


def test_with_delay_the_late_run_after_those_in_time(server: Server, second: int):
    with busy(server, "delays", second) as line:
        line.wait("long and late", second // 8)
        line.wait("late")
        line.until("first")
        line.send("in time")  # while the long one runs: it was late, and found nobody who was not
    assert line.answered == ["first", "long and late", "in time", "late"]


def test_a_request_may_shorten_its_time_where_the_policy_lets_it(server: Server, second: int):
    with busy(server, "long", second) as line:
        line.wait("usual")
        assert line.refusal(timeout=50_000) == "DEADLINE_EXCEEDED"
    assert line.answered == ["first", "usual"]


def test_a_request_may_not_lengthen_its_time(server: Server, second: int):
    """Triton: it can set a timeout that is less than the default one, but may not increase it."""
    with busy(server, "short", second) as line:
        assert line.refusal(timeout=60_000_000) == "DEADLINE_EXCEEDED"
    assert line.answered == ["first"]


def test_answers_keep_the_order_of_their_requests_where_that_is_promised(server: Server, second: int):
    for model, order in (("ordered", ["first", "one", "two"]), ("hasty", ["one", "two", "first"])):
        with busy(server, model, second // 4) as line:
            line.send("one")
            line.send("two")
        assert line.answered == order


def test_what_waits_is_bounded_by_bytes_where_no_policy_says_anything(server: Server, second: int):
    names = [f"{number}" for number in range(MOST_BYTES // ROW_BYTES)]
    with busy(server, "unbounded", second) as line:
        for name in names:
            line.send(name)
        line.waiting(len(names))
        assert line.refusal() == "RESOURCE_EXHAUSTED"
    assert line.answered == ["first", *names]


def asked(server: Server, model: str, **how: int) -> tuple[int, str | None, str]:
    """HTTP status, Retry-After and sentence of a request that is refused."""
    tensor = {"name": "rounds", "shape": [1, 1], "datatype": "INT64", "data": [1]}
    body = {"inputs": [tensor], "parameters": how}
    answer = server.client.post(f"/v2/models/{model}/infer", json=body)
    return answer.status_code, answer.headers.get("retry-after"), answer.json().get("error", "answered")


@pytest.mark.parametrize(
    ("mode", "full", "late", "grpc_full", "grpc_late"),
    [
        ("server", 429, 504, "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"),
        ("like_triton", 503, 503, "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
def test_refusals_have_our_statuses_or_tritons(
    request: pytest.FixtureRequest,
    second: int,
    mode: str,
    full: int,
    late: int,
    grpc_full: str,
    grpc_late: str,
):
    server: Server = request.getfixturevalue(mode)
    with busy(server, "levels", second) as line:
        line.wait("one", priority=1)
        status, retry_after, sentence = asked(server, "levels", priority=1)
        assert (status, line.refusal(priority=1)) == (full, grpc_full)
        assert sentence.startswith("Exceeds maximum queue size")
        assert full != 429 or 1 <= int(retry_after or 0) <= 30
        status, _, sentence = asked(server, "levels", priority=3)
        assert (status, line.refusal(priority=3)) == (late, grpc_late)
        assert sentence == "Request timeout expired for model 'levels'"
    with busy(server, "unbounded", second) as line:
        for number in range(MOST_BYTES // ROW_BYTES):
            line.send(f"{number}")
        line.waiting(MOST_BYTES // ROW_BYTES)
        status, retry_after, _ = asked(server, "unbounded")
        assert (status, line.refusal()) == (full, grpc_full)
        assert full != 429 or 1 <= int(retry_after or 0) <= 30
