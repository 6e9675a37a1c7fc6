"""Triton's C++ server from nvidia-pytriton, with the model in its Python backend and dynamic batching.

`delayed` as its word has batches wait a millisecond for company; else they leave with what is there.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from benchmarks.peers.serve.session import Task, task

ROOT = Path(__file__).resolve().parents[3]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DELAY_US = 1_000
STUB = "triton_python_backend_stub"
CONFIG = """\
name: "{model}"
backend: "python"
max_batch_size: {max_batch_size}
input {{ name: "INPUT" data_type: TYPE_FP32 dims: [ {dims} ] }}
output {{ name: "OUTPUT" data_type: TYPE_FP32 dims: [ -1 ] }}
instance_group {{ kind: KIND_CPU count: 1 }}
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
"""
MODEL = f"""\
import sys

sys.path.insert(0, {str(ROOT)!r})
from benchmarks.peers.serve.triton_model import TritonPythonModel
"""
"""The backend passes over PYTHONPATH."""


def lay(asked: Task, repository: Path, delay_us: int) -> None:
    version = repository / asked.model / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL, encoding="utf-8")
    config = CONFIG.format(
        model=asked.model,
        max_batch_size=asked.max_batch_size,
        dims=", ".join(["-1"] * (asked.rank - 1)),
        delay_us=delay_us,
    )
    (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")


def _serve(asked: Task, delay_us: int) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    home = packages / "pytriton" / "tritonserver"
    scratch = Path(asked.scratch)
    lay(asked, scratch / "repository", delay_us)
    backend = scratch / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    shutil.copy(home / "python_backend_stubs" / VERSION / STUB, backend)
    for program in (home / "bin" / "tritonserver", backend / STUB):
        program.chmod(0o755)
    libraries = [str(packages / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    environment = os.environ | {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(libraries),
    }
    words = [f"--model-repository={scratch / 'repository'}", f"--backend-directory={backend.parent}"]
    words += ["--allow-metrics=false", "--exit-timeout-secs=3"]
    words += ["--http-address=127.0.0.1", f"--http-port={asked.http_port}"]
    words += ["--grpc-address=127.0.0.1", f"--grpc-port={asked.grpc_port}"]
    server = str(home / "bin" / "tritonserver")
    os.execve(server, [server, *words], environment)


if __name__ == "__main__":
    _serve(task(), DELAY_US if "delayed" in sys.argv[1:] else 0)
