"""Who watches the standard health service is told of each change, and of the end."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e_lifecycle.held import SETUP, Gate
from tests.e2e_lifecycle.repository import Repository
from tests.server_process import running

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3
OPTIONS = ("--repository-settle-secs=0.1", "--access-log=false")


@pytest.mark.parametrize("front", ["auto", "grpcio"])
@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_a_watcher_is_told_when_the_server_is_ready_and_when_it_leaves(tmp_path, front, service):
    repository, gate = Repository(tmp_path), Gate(tmp_path)
    (repository.write("held", 1) / "pre.py").write_text(gate.pre(SETUP))
    options = [*OPTIONS, f"--grpc-front={front}", "--drain-grace-secs=1"]
    with running(tmp_path / "log", repository.path, options=options, wait=False) as server:
        server.until(lambda: gate.begun == 1)
        with grpc.insecure_channel(server.grpc) as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=service), timeout=30, wait_for_ready=True
            )
            assert next(watching).status == NOT_SERVING
            gate.open()
            assert next(watching).status == SERVING
            server.terminate()
            assert next(watching).status == NOT_SERVING
            with pytest.raises(grpc.RpcError) as end:
                next(watching)
        assert server.wait(10) == 0
    assert (end.value.code(), end.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the server is stopping",
    )


def test_a_watcher_of_a_service_that_is_not_known_is_told_so_and_may_wait(tmp_path):
    repository = Repository(tmp_path)
    repository.write("plain", 1)
    with (
        running(tmp_path / "log", repository.path, options=OPTIONS) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="nothing"))
        assert next(watching).status == UNKNOWN
        assert watching.is_active()
        watching.cancel()


def test_there_is_an_end_to_how_many_may_watch(tmp_path):
    repository = Repository(tmp_path)
    repository.write("plain", 1)
    with (
        running(tmp_path / "log", repository.path, options=OPTIONS) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watching = [watch(health_pb2.HealthCheckRequest()) for _ in range(256)]
        assert {next(each).status for each in watching} == {SERVING}
        with pytest.raises(grpc.RpcError) as refusal:
            next(watch(health_pb2.HealthCheckRequest()))
        assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.value.details() == "256 callers watch the health already: ask with Check instead"
        watching.pop().cancel()

        def one_more() -> bool:
            try:
                return next(watch(health_pb2.HealthCheckRequest())).status == SERVING
            except grpc.RpcError:
                return False

        server.until(one_more)
