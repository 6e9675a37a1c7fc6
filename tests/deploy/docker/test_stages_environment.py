"""The environment of the image for gateway, pre and post, made by the Dockerfile's own commands, and used.

There is no Docker here: `RUN` lines are run by a shell, `COPY` lines by a copy, in a folder that stands in
for the container.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.deploy.docker.dockerfile import stages
from tests.e2e.workshop import put
from tests.lifecycle.shelf import plus
from tests.server_process import ROOT, free_ports
from tests.tier_processes import tier

pytestmark = pytest.mark.slow

NOT_COPIED = shutil.ignore_patterns("__pycache__", "*_pb2.py", "*_pb2.pyi")
ASKED = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """The folder that the image has at /opt/tercet."""
    root = tmp_path_factory.mktemp("container")
    subprocess.run([sys.executable, "-m", "venv", root / "python"], check=True)
    source = root / "src"
    source.mkdir()
    path = f"{root / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for instruction, value in [*stages()["build"].own, *stages()["with-stages"].own]:
        if instruction == "COPY":
            *froms, to = value.split()
            for each in froms:
                _copy(ROOT / each, source / to)
        elif instruction == "RUN":
            for there in ("/opt/tercet", "/wheels"):
                value = value.replace(there, f"{root}{there}")
            subprocess.run(value, shell=True, check=True, cwd=source, env={**os.environ, "PATH": path})
    return root / "opt" / "tercet"


def _copy(what: Path, to: Path) -> None:
    if what.is_dir():
        shutil.copytree(what, to, ignore=NOT_COPIED)
    else:
        (to if to.suffix else to / what.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(what, to)


def test_it_has_the_program_with_its_protocols_and_no_runtime_nor_package_manager(environment):
    python = environment / "bin" / "python"
    looks = (
        "import importlib.util as u, protos.inference_pb2; "
        "print([n for n in ('onnxruntime', 'torch', 'pip', 'setuptools', 'uv') if u.find_spec(n)])"
    )
    found = subprocess.run([python, "-P", "-c", looks], check=True, capture_output=True, text=True, cwd="/")
    assert found.stdout == "[]\n"
    helped = subprocess.run(
        [environment / "bin" / "tercet", "serve", "--help"], check=True, capture_output=True
    )
    assert b"--role" in helped.stdout


def test_gateway_pre_and_post_serve_from_it_before_a_predict_tier_that_has_a_runtime(environment, tmp_path):
    models = tmp_path / "models"
    put(
        models,
        "plus",
        plus(1),
        pre_py="def preprocess(inputs): return {'x': inputs['x'] * 10}\n",
        post_py="def postprocess(outputs): return {'y': -outputs['y']}\n",
    )
    program = environment / "bin" / "tercet"
    ports = {role: free_ports(3) for role in ("gateway", "pre", "post")}

    def started_by_hand(role: str, *words: str) -> subprocess.Popen[bytes]:
        http, grpc, metrics = ports[role]
        doors = [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
        with (tmp_path / f"{role}.log").open("wb") as log:
            command = [program, "serve", f"--role={role}", "--http-address=127.0.0.1", *doors, *words]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd="/")

    def at(role: str) -> str:
        return f"127.0.0.1:{ports[role][1]}"

    with ExitStack() as stack:
        processes = [started_by_hand("post", str(models))]
        stack.callback(lambda: [each.kill() for each in processes if each.poll() is None])
        predict = stack.enter_context(
            tier(tmp_path, "predict", models, options=[f"--post-endpoints={at('post')}"])
        )
        ahead = f"--predict-endpoints={predict.grpc}"
        processes.append(started_by_hand("pre", str(models), ahead))
        processes.append(
            started_by_hand(
                "gateway", f"--pre-endpoints={at('pre')}", ahead, f"--post-endpoints={at('post')}"
            )
        )
        url = f"http://127.0.0.1:{ports['gateway'][0]}"
        predict.until(lambda: _ready(url), within_s=90)
        answer = predict.client.post(f"{url}/v2/models/plus/infer", json=ASKED).json()
        assert answer["outputs"][0]["data"] == [-11, -21]
        for each in reversed(processes):
            each.terminate()
        assert [each.wait(60) for each in processes] == [0, 0, 0]


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/models/plus/ready").status_code == 200
    except httpx.TransportError:
        return False
