"""Triton's C++ server with its Python backend, from the package nvidia-pytriton."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.server_process import free_ports

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
FETCHED = Path(__file__).parents[1] / ".venv" / "pytriton"
"""A virtual environment of its own, made by `make pytriton`: the backend works with NumPy 1 alone."""


def pytriton() -> Path | None:
    """The environment that has it; None where it is not to be had, or not for this Python."""
    environment = Path(os.environ.get("PYTRITON") or FETCHED)
    return environment if _stub(environment).exists() else None


def _packages(environment: Path) -> Path:
    return environment / "lib" / f"python{VERSION}" / "site-packages"


def _stub(environment: Path) -> Path:
    """The process in which its backend runs models of this Python."""
    home = _packages(environment) / "pytriton" / "tritonserver"
    return home / "python_backend_stubs" / VERSION / "triton_python_backend_stub"


class TritonServer:
    """A running one; `grpc` is its address as an endpoint, without a scheme."""

    def __init__(self, process: subprocess.Popen[bytes], http: str, grpc: str, log: Path) -> None:
        self.process = process
        self.http, self.grpc = http, grpc
        self._log = log

    def await_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"http://{self.http}/v2/health/ready").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"tritonserver is not ready:\n{self._log.read_text()[-4000:]}")


@contextmanager
def triton_server(repository: Path, scratch: Path, *, grpc_port: int = 0) -> Iterator[TritonServer]:
    """Serve `repository` until the block is left."""
    own = pytriton()
    assert own is not None
    home = _packages(own) / "pytriton" / "tritonserver"
    backends = scratch / "backends"
    if not backends.exists():
        shutil.copytree(home / "backends" / "python", backends / "python")
        shutil.copy(_stub(own), backends / "python")
    for program in (home / "bin" / "tritonserver", backends / "python" / "triton_python_backend_stub"):
        program.chmod(0o755)
    http_port, free = free_ports(2)
    grpc_port = grpc_port or free
    libraries = [str(_packages(own) / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    environment = os.environ | {
        "PATH": f"{own / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(libraries),
    }
    command = [str(home / "bin" / "tritonserver"), f"--model-repository={repository}"]
    command += [f"--backend-directory={backends}", "--allow-metrics=false", "--exit-timeout-secs=3"]
    command += [f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    command += ["--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--model-control-mode=explicit"]
    command += ["--load-model=*"]
    log = scratch / "tritonserver.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    server = TritonServer(process, f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", log)
    try:
        server.await_ready()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # one that was killed leaves the processes of its models behind
            os.killpg(process.pid, signal.SIGKILL)
