"""Streams whose client leaves, sends nonsense or does not read, and those of a server that stops."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.e2e.streaming import aio, blocking
from tests.e2e_lifecycle.held import PREPROCESS, Gate
from tests.e2e_lifecycle.repository import Repository
from tests.lifecycle.shelf import plus
from tests.server_process import ROOT, Server, running

OPTIONS = ("--log-format=json", "--repository-settle-secs=0.1")
FRONTS = pytest.mark.parametrize("front", ["auto", "grpcio"])
CLIENTS = pytest.mark.parametrize("streams", [blocking, aio])
METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
ZEROS = {"x": np.zeros((1, 2), np.float32)}
MIB = 2**20


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    repository.write("plus", 1, plus(1, width="width"))
    return repository


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def question(model: str = "plus", request_id: str = "", width: int = 2) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    request.inputs.add(name="x", datatype="FP32", shape=[1, width])
    request.raw_input_contents.append(np.zeros(width, np.float32).tobytes())
    return request


@contextmanager
def stub(server: Server) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def inferences(server: Server, model: str = "plus") -> int:
    (told,) = server.client.get(f"/v2/models/{model}/stats").json()["model_stats"]
    count: int = told["inference_count"]
    return count


# A server that stops, or changes


@FRONTS
@CLIENTS
async def test_a_server_that_stops_answers_what_its_streams_have_in_flight_and_then_ends_them(
    repository, gate, tmp_path, front, streams
):
    (repository.write("held", 1, plus(1, width="width")) / "pre.py").write_text(gate.pre(PREPROCESS))
    options = [*OPTIONS, f"--grpc-front={front}"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        async with streams(server) as busy, streams(server) as idle:
            await idle.ask("plus", ZEROS, request_id="before")
            assert (await idle.told()).message.id == "before"
            for number in range(3):
                wide = {"x": np.zeros((1, 200_000), np.float32)}
                await busy.ask("held", wide, request_id=f"held-{number}")
            await asyncio.to_thread(server.until, lambda: gate.begun == 3)
            server.terminate()
            ended = await idle.told()
            gate.open()
            told = [await busy.told() for _ in range(4)]
        assert server.wait(10) == 0
    assert {each.message.id for each in told[:3]} == {"held-0", "held-1", "held-2"}
    assert all((each.array("y") == 1).all() for each in told[:3])
    for each in (ended, told[3]):
        assert each.error is not None
        assert each.error.status() == "StatusCode.UNAVAILABLE"
        assert each.error.message() == "the server is stopping and takes no new requests"
    assert "Traceback" not in server.log


@FRONTS
def test_a_stream_that_does_not_end_holds_the_exit_no_longer_than_its_timeout(
    repository, gate, tmp_path, front
):
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    options = [*OPTIONS, f"--grpc-front={front}", "--exit-timeout-secs=1"]
    with running(tmp_path / "log", repository.path, options=options) as server, stub(server) as asked:
        told = asked.ModelStreamInfer(iter([question("held")]))
        server.until(lambda: gate.begun == 1)
        server.terminate()
        with pytest.raises(grpc.RpcError):
            next(told)
        assert server.wait(10) == 0
        gate.open()


@FRONTS
@CLIENTS
async def test_a_model_that_goes_in_between_is_an_error_in_the_stream_which_goes_on(
    repository, tmp_path, front, streams
):
    repository.write("other", 1)
    options = [*OPTIONS, "--model-control-mode=explicit", "--load-model=*", f"--grpc-front={front}"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        async with streams(server) as stream:
            await stream.ask("plus", ZEROS, request_id="there")
            assert (await stream.told()).message.id == "there"
            assert server.client.post("/v2/repository/models/plus/unload").status_code == 200
            await stream.ask("plus", ZEROS, request_id="gone")
            error = (await stream.told()).error
            assert error is not None
            assert error.message() == "Request for unknown model: 'plus' has no available versions"
            await stream.ask("other", ZEROS, request_id="other")
            assert (await stream.told()).message.id == "other"
            assert server.client.post("/v2/repository/models/plus/load").status_code == 200
            await stream.ask("plus", ZEROS, request_id="back")
            assert (await stream.told()).message.id == "back"
            assert await stream.done() == []


# Many streams


@FRONTS
async def test_two_hundred_streams_at_once_have_each_their_own_answers(repository, tmp_path, front):
    async def one(number: int) -> bool:
        asked = {"x": np.full((1, 2), number, np.float32)}
        async with aio(server) as stream:
            for step in range(5):
                await stream.ask("plus", asked, request_id=f"{number}-{step}")
            told = [await stream.told() for _ in range(5)]
            assert await stream.done() == []
        names = {each.message.id for each in told}
        right = all((each.array("y") == number + 1).all() for each in told)
        return right and names == {f"{number}-{step}" for step in range(5)}

    with running(tmp_path / "log", repository.path, options=[*OPTIONS, f"--grpc-front={front}"]) as server:
        assert all(await asyncio.gather(*(one(number) for number in range(200))))
        server.until(lambda: inferences(server) == 1000)
    assert "Traceback" not in server.log


@FRONTS
def test_one_stream_too_many_is_refused_until_another_ends(repository, tmp_path, front):
    options = [*OPTIONS, f"--grpc-front={front}", "--grpc-max-infer-streams=2"]
    with running(tmp_path / "log", repository.path, options=options) as server, stub(server) as asked:
        open_ones = [asked.ModelStreamInfer(endless(question())) for _ in range(2)]
        for each in open_ones:
            next(each)
        with pytest.raises(grpc.RpcError) as refusal:
            next(asked.ModelStreamInfer(iter([question()])))
        assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the server already has 2 streams open" in refusal.value.details()
        assert "--grpc-max-infer-streams" in refusal.value.details()
        open_ones[0].cancel()

        def taken() -> bool:
            try:
                return next(asked.ModelStreamInfer(iter([question()]))).error_message == ""
            except grpc.RpcError:
                return False

        server.until(taken)
        open_ones[1].cancel()


# Clients


def endless(*requests: service_pb2.ModelInferRequest) -> Iterator[service_pb2.ModelInferRequest]:
    """These requests, and then neither another nor an end."""
    yield from requests
    threading.Event().wait(30)


@FRONTS
def test_a_message_that_cannot_be_read_is_an_error_in_the_stream_which_goes_on(repository, tmp_path, front):
    good = question(request_id="good").SerializeToString()
    with (
        running(tmp_path / "log", repository.path, options=[*OPTIONS, f"--grpc-front={front}"]) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        method = channel.stream_stream(
            METHOD, response_deserializer=service_pb2.ModelStreamInferResponse.FromString
        )
        told = list(method(iter([b"\xff\xff\xff", b"", good, good[:-3], b"\x0a\x02\xff\xfe", good])))
    errors = sorted(each.error_message for each in told if each.error_message)
    assert len(told) == 6
    assert [each.infer_response.id for each in told if not each.error_message] == ["good", "good"]
    assert errors[0] == "Request for unknown model: '' is not found"
    assert errors[1:] == ["the message cannot be read as inference.ModelInferRequest"] * 3
    assert "Traceback" not in server.log


@FRONTS
def test_a_client_that_does_not_read_is_not_read_either_and_harms_nobody(repository, tmp_path, front):
    """A thousand requests of 256 KB, with answers as large: a few more than are allowed are taken."""
    allowed, width = 32, 65_536
    options = [*OPTIONS, f"--grpc-front={front}", f"--grpc-max-stream-requests={allowed}"]
    with running(tmp_path / "log", repository.path, options=options) as server, stub(server) as asked:
        for _ in range(20):
            asked.ModelInfer(question(width=width))
        before, counted = server.rss_bytes(), inferences(server)
        told = asked.ModelStreamInfer(question(request_id=str(each), width=width) for each in range(1000))
        taken = [0, -1]

        def stalled() -> bool:
            taken[:] = [inferences(server) - counted, taken[0]]
            return taken[0] == taken[1] >= allowed

        server.until(stalled, every_s=0.5)
        assert allowed <= taken[0] < 4 * allowed  # what is on the wire comes on top
        assert server.rss_bytes() - before < 150 * MIB
        with stub(server) as other:
            assert other.ServerReady(service_pb2.ServerReadyRequest(), timeout=5).ready
            (one,) = other.ModelStreamInfer(iter([question(request_id="other")]), timeout=5)
            assert one.infer_response.id == "other"
            assert other.ModelInfer(question(), timeout=5).model_name == "plus"
        assert {each.infer_response.id for each in told} == {str(each) for each in range(1000)}
        assert server.rss_bytes() - before < 250 * MIB


@FRONTS
@pytest.mark.parametrize("end", ["cancels", "is killed"])
def test_a_client_that_does_not_read_and_goes_leaves_nothing_behind(repository, tmp_path, front, end):
    options = [*OPTIONS, f"--grpc-front={front}", "--grpc-max-infer-streams=1", "--grpc-stream-unread-secs=1"]
    with running(tmp_path / "log", repository.path, options=options) as server:
        client = subprocess.Popen([sys.executable, "-c", DEAF, server.grpc, end], cwd=ROOT)
        try:
            server.until(lambda: inferences(server) > 100)
            if end == "is killed":
                os.kill(client.pid, signal.SIGKILL)
            with stub(server) as asked:

                def free() -> bool:
                    try:
                        return next(asked.ModelStreamInfer(iter([question()]))).error_message == ""
                    except grpc.RpcError:
                        return False

                server.until(free)
        finally:
            client.kill()
            client.wait()
    assert "Traceback" not in server.log
    assert "request_crashed" not in server.log


@FRONTS
def test_a_client_that_leaves_its_answers_unread_for_too_long_is_told_so(repository, tmp_path, front):
    options = [*OPTIONS, f"--grpc-front={front}", "--grpc-stream-unread-secs=0.5"]
    with running(tmp_path / "log", repository.path, options=options) as server, stub(server) as asked:
        given: list[int] = []

        def requests() -> Iterator[service_pb2.ModelInferRequest]:
            for number in range(1000):
                given.append(number)
                yield question(request_id=str(number), width=65_536)

        told = asked.ModelStreamInfer(requests())
        server.until(lambda: len(given) == 1000)  # it was given up, as what comes is read and dropped
        assert inferences(server) < 500
        got = []
        with pytest.raises(grpc.RpcError) as end:
            got.extend(each.infer_response.id for each in told)
        assert end.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert end.value.details() == (
            "an answer was not read within 0.5 seconds, as --grpc-stream-unread-secs asks for"
        )
        assert 0 < len(set(got)) == len(got) < 500
        assert asked.ModelInfer(question(), timeout=5).model_name == "plus"
    assert "Traceback" not in server.log


DEAF = """
import sys, threading
from tests.e2e_lifecycle.test_streams_in_trouble import question, service_pb2_grpc
import grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    call = stub.ModelStreamInfer(question(width=65_536) for _ in range(1000))
    threading.Event().wait(1.5)
    if sys.argv[2] == "cancels":
        call.cancel()
    threading.Event().wait(60)
"""

KILLED = """
import sys, threading
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
client.start_stream(lambda result, error: print(error or result.get_response().id, flush=True))
tensor = triton.InferInput("x", [1, 2], "FP32")
tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
for number in range(20):
    client.async_stream_infer("held", [tensor], request_id=f"killed-{number}")
client.async_stream_infer("plus", [tensor], request_id="last")
threading.Event().wait(60)
"""


@FRONTS
def test_a_client_that_is_killed_takes_its_queued_work_along(repository, gate, tmp_path, front):
    """Four of its requests are held in pre-processing, which has four threads; sixteen wait.

    They are there once what was sent behind them is answered.
    """
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(PREPROCESS))
    with running(tmp_path / "log", repository.path, options=[*OPTIONS, f"--grpc-front={front}"]) as server:
        client = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.grpc], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "last\n"
            server.until(lambda: gate.begun == 4)
            os.kill(client.pid, signal.SIGKILL)
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
        server.until(lambda: sum('"killed-' in line for line in server.log.splitlines()) == 20)
        gate.open()
        with stub(server) as asked:
            (told,) = asked.ModelStreamInfer(iter([question("held", "alive")]), timeout=10)
            assert told.infer_response.id == "alive"
        assert gate.begun == 5, "of the killed client's, none was begun that was not begun before"
        assert inferences(server, "held") == 1
        assert psutil.Process(server.pid).num_threads() < 100
    assert "Traceback" not in server.log
