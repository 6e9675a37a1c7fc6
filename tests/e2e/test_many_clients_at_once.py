"""When a server comes back, all its clients come at once: none of them has to knock twice."""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.e2e.triton import tensors
from tests.e2e.workshop import put, times
from tests.server_process import Server, running

CLIENTS = 600
"""More than a library lets wait of its own accord, and fewer than a process may have files open."""

KNOCKS_AGAIN_S = 1
"""After so long Linux asks again for a connection that was not answered."""


@pytest.fixture(params=["native", "grpcio"])
def server(request, tmp_path: Path) -> Iterator[Server]:
    put(tmp_path / "models", "double", times(2), "max_batch_size: 8")
    options = [f"--grpc-front={request.param}"]
    with running(tmp_path / "log", tmp_path / "models", options=options) as server:
        yield server


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("door", ["HTTP", "gRPC"])
def test_all_are_let_in_at_once_though_the_server_is_busy_with_something_else(server, door):
    port = {"HTTP": port_of(server.http), "gRPC": port_of(server.grpc)}[door]
    with ExitStack() as clients:
        os.kill(server.pid, signal.SIGSTOP)
        clients.callback(os.kill, server.pid, signal.SIGCONT)
        for _ in range(CLIENTS):
            client = clients.enter_context(socket.socket())
            client.settimeout(0.9 * KNOCKS_AGAIN_S)
            client.connect(("127.0.0.1", port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with triton.InferenceServerClient(server.grpc) as client:
        numbers = np.arange(4, dtype=np.float32).reshape(1, 4)
        answer = client.infer("double", tensors(triton, {"x": numbers}), client_timeout=30)
        np.testing.assert_array_equal(answer.as_numpy("y"), 2 * numbers)
