"""How long a gRPC connection is kept, and who is asked whether it is still there: Triton's options act."""

import json
import queue
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from server.api.grpc_front import METHOD
from server.http2.frames import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, frame, reset
from server.http2.head_blocks import literal
from tests.contract.question import RAW, Question, filled
from tests.e2e.http2 import ACK, GOAWAY, MAX_CONCURRENT_STREAMS, PING, SETTINGS, Peer
from tests.e2e.triton import tensors
from tests.e2e.workshop import put, times
from tests.http2.line import fields_of, message
from tests.relay import Relay
from tests.server_process import Server, running

SAME = """
def preprocess(inputs):
    return inputs
"""
KEEPALIVE = (
    *("--grpc-keepalive-time=200", "--grpc-keepalive-timeout=400"),
    "--grpc-keepalive-permit-without-calls=1",
)


@pytest.fixture
def started(tmp_path: Path) -> Iterator:
    put(tmp_path / "models", "double", times(2), "max_batch_size: 8")

    @contextmanager
    def start(*options: str) -> Iterator[Server]:
        with running(
            tmp_path / "log", tmp_path / "models", options=["--log-format=json", *options]
        ) as server:
            yield server

    return start


def front(server: Server) -> tuple[str, str]:
    """Which front the log says there is, and why."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "grpc_front"]
    return line["front"], line["why"]


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_a_client_that_is_not_there_any_more_is_given_up(started, wanted):
    with started(f"--grpc-front={wanted}", *KEEPALIVE) as server:
        assert front(server)[0] == wanted
        peer = Peer(server)
        asked = peer.until(PING)
        peer.acknowledge(asked)
        peer.until(PING)  # and this one is not answered
        assert 0.2 < peer.ends_after_s() < 3
        peer.close()


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_a_connection_without_calls_is_not_asked_unless_that_is_wanted(started, wanted):
    with started(f"--grpc-front={wanted}", *KEEPALIVE[:2]) as server:
        peer = Peer(server, patience_s=4)
        with pytest.raises(TimeoutError):
            peer.until(PING)
        peer.close()


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_a_client_that_pings_too_often_is_sent_away(started, wanted):
    options = ["--grpc-http2-min-recv-ping-interval-without-data=60000", "--grpc-http2-max-ping-strikes=1"]
    with started(f"--grpc-front={wanted}", *options) as server:
        assert front(server)[0] == wanted
        peer = Peer(server)
        peer.ping(times=5)
        assert b"too_many_pings" in peer.until(GOAWAY).payload
        peer.close()


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_an_old_connection_is_told_to_go_and_what_it_has_in_flight_is_answered(started, wanted):
    options = ["--grpc-max-connection-age=500", "--grpc-max-connection-age-grace=10000"]
    with started(f"--grpc-front={wanted}", *options) as server:
        assert front(server)[0] == wanted
        peer = Peer(server)
        began = time.monotonic()
        peer.until(GOAWAY)
        assert 0.3 < time.monotonic() - began < 3
        peer.close()
        with triton.InferenceServerClient(server.grpc) as client:
            until = time.monotonic() + 2
            while time.monotonic() < until:  # over several connections: nobody notices
                client.infer("double", tensors(triton, {"x": np.ones((1, 1), np.float32)}))


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_answers_are_packed_for_clients_that_can_unpack_them(started, wanted):
    zeros, ones = np.zeros((1, 100_000), np.float32), np.ones((1, 1000), np.float32)
    for level, is_packed in (("none", False), ("low", True), ("medium", True), ("high", True)):
        options = [f"--grpc-front={wanted}", f"--grpc-infer-response-compression-level={level}"]
        with started(*options, "--grpc-max-in-flight=2") as server:
            assert front(server)[0] == wanted
            with Relay(server.grpc) as relay, triton.InferenceServerClient(relay.address) as client:
                answer = client.infer("double", tensors(triton, {"x": zeros}))
                assert not answer.as_numpy("y").any()
                assert (relay.answered_bytes < 50_000) == is_packed
                for _ in range(4):  # none of those that were packed aside is in flight any more
                    assert not client.infer("double", tensors(triton, {"x": zeros})).as_numpy("y").any()
                answer = client.infer("double", tensors(triton, {"x": ones}))
                assert (answer.as_numpy("y") == 2).all()


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_a_stream_is_packed_too(started, wanted):
    x = np.zeros((1, 100_000), np.float32)
    with (
        started(f"--grpc-front={wanted}", "--grpc-infer-response-compression-level=high") as server,
        Relay(server.grpc) as relay,
        triton.InferenceServerClient(relay.address) as client,
    ):
        told: queue.Queue = queue.Queue()
        client.start_stream(lambda result, error: told.put((result, error)))
        client.async_stream_infer("double", tensors(triton, {"x": x}))
        answer, error = told.get(timeout=20)
        client.stop_stream()
        assert error is None
        assert not answer.as_numpy("y").any()
        assert relay.answered_bytes < 50_000


@pytest.mark.parametrize("wanted", ["native", "grpcio"])
def test_a_connection_is_told_how_many_calls_it_may_have_open(started, wanted):
    with started(f"--grpc-front={wanted}", "--grpc-max-concurrent-streams=7") as server:
        peer = Peer(server)
        told = peer.until(SETTINGS).payload
        pairs = dict(struct.unpack(">HI", told[at : at + 6]) for at in range(0, len(told), 6))
        assert pairs[MAX_CONCURRENT_STREAMS] == 7
        peer.close()


def test_calls_that_are_given_up_as_they_come_leave_room_for_others(started, tmp_path):
    """As many as are held at once and more, each taken back in the same breath, before its task has begun."""
    put(tmp_path / "models", "staged", times(2), "max_batch_size: 8", pre_py=SAME)
    with started("--grpc-front=native", "--grpc-max-in-flight=4") as server:
        asked = {"x": np.ones((1, 1), np.float32)}
        with triton.InferenceServerClient(server.grpc) as client:
            assert client.infer("staged", tensors(triton, asked)).as_numpy("y").tolist() == [[2.0]]
            peer = Peer(server)
            content = message(
                Question("staged", [filled("x", "FP32", 1, 1)]).over_grpc(RAW).SerializeToString()
            )
            head = b"".join(literal(name, value) for name, value in fields_of(METHOD))
            for number in range(20):
                stream = 2 * number + 1
                peer.send(
                    frame(HEADERS, END_HEADERS, stream, head)
                    + frame(DATA, END_STREAM, stream, content)
                    + reset(stream, CANCEL)
                )
            peer.ping(times=1)
            peer.until(PING, ACK)
            assert client.infer("staged", tensors(triton, asked)).as_numpy("y").tolist() == [[2.0]]
            peer.close()
