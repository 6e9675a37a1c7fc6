"""The README's commands, run as they stand, but for the ports."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.server_process import ROOT, SAMPLES, free_ports

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@contextmanager
def serving(command: str, log: Path, directory: Path = ROOT) -> Iterator[str]:
    """Run a command that serves, on free ports; its HTTP address, once it is ready."""
    http, grpc, metrics = free_ports(3)
    ports = f"--http-port={http} --grpc-port={grpc} --metrics-port={metrics}"
    words = shlex.split(command)
    words += [f"ARGS={ports}"] if words[0] == "make" else shlex.split(ports)
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=directory, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(f"http://localhost:{http}/v2/health/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        yield f"localhost:{http}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`make serve`, as the README begins."""
    log = tmp_path_factory.mktemp("readme") / "serve.log"
    with serving("make serve", log) as address:
        yield address, log


def run(command: str, address: str) -> str:
    command = command.replace("localhost:8000", address)
    if "tercet" in command:
        command += f" --url http://{address}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_commands_are_the_two_that_matter():
    assert COMMANDS[0] == "make serve"
    assert "make test" in COMMANDS


def test_the_flower_is_recognised(served):
    (command,) = [line for line in COMMANDS if "iris/predict" in line]
    assert json.loads(run(command, served[0]))["label"] == 0


def test_the_image_is_recognised(served):
    (command,) = [line for line in COMMANDS if "image/png" in line]
    assert json.loads(run(command, served[0]))["digit"] == 8


def test_the_command_line_asks_and_lists(served):
    (infer,) = [line for line in COMMANDS if "tercet infer" in line]
    assert json.loads(run(infer, served[0]))["progression"] > 0
    (models,) = [line for line in COMMANDS if "tercet models" in line]
    assert {"iris", "diabetes", "digits", "digits_onnx"} <= set(run(models, served[0]).split())


def test_the_banner_ends_in_commands_that_work_as_they_stand(served):
    _, log = served
    text = log.read_text()
    commands = [line for line in text.splitlines() if line.startswith("curl ")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert "error" not in json.loads(done.stdout)
    script = re.search(r"python - <<'END'\n(.*?)\nEND", text, re.DOTALL)
    assert script is not None
    done = subprocess.run([sys.executable, "-c", script.group(1)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_ones_own_folder_is_served_by_the_command_shown(served, tmp_path):
    init, verify, serve = (
        command.replace(".venv/bin/tercet", shlex.quote(str(ROOT / ".venv/bin/tercet")))
        for command in COMMANDS
        if re.search(r"tercet (init|verify|serve) ", command)
    )
    (tmp_path / "model_repository").symlink_to(SAMPLES)
    for command in (init, verify):
        done = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert "flowers version 1: good" in done.stdout
    with serving(serve, tmp_path / "log", tmp_path) as address:
        assert httpx.get(f"http://{address}/v2/models/flowers").json()["versions"] == ["1"]


def test_every_file_that_the_readme_names_is_there():
    named = set(re.findall(r"\]\(([\w./-]+)\)", README)) | set(
        re.findall(r"@?(model_repository/\S+)", README)
    )
    assert named
    missing = [name for name in named if not (ROOT / name.rstrip("`")).exists()]
    assert not missing
