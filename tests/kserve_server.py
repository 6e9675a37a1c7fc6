"""A KServe model server in a process of its own: kserve and tritonclient cannot share one.

`python -m tests.kserve_server HTTP_PORT GRPC_PORT` serves `plus`, which says what it takes and gives, and
`shy`, which does not, as most of KServe's models; both answer y = x + 1. Import `kserve_server` to start it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.server_process import ROOT, free_ports


@contextmanager
def kserve_server(log: Path) -> Iterator[str]:
    """The address of its gRPC, until the block is left."""
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "tests.kserve_server", str(http_port), str(grpc_port)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while not _ready(http_port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"KServe's server is not ready:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{grpc_port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/models/plus/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _serve(http_port: int, grpc_port: int) -> None:
    import kserve

    class Plus(kserve.Model):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.ready = True

        def predict(self, payload, headers=None, response_headers=None):
            (tensor,) = payload.inputs
            array = tensor.as_numpy()
            if (array < 0).any():
                raise kserve.errors.InvalidInput("x must not be below 0")
            output = kserve.InferOutput("y", list(array.shape), "FP32")
            output.set_data_from_numpy(array + 1)
            return kserve.InferResponse(payload.id, self.name, [output])

    class Telling(Plus):
        def get_input_types(self):
            return [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

        def get_output_types(self):
            return [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]

    server = kserve.ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1)
    server.start([Telling("plus"), Plus("shy")])


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
