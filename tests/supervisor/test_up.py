"""`tercet up` as an operator starts it: whole servers that share their ports, asked by real clients."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e_lifecycle.repository import Repository
from tests.server_process import ROOT, free_ports
from tests.supervisor.asking import clients

PATIENCE_S = 120.0


class Up:
    def __init__(
        self, process: "subprocess.Popen[bytes]", ports: Sequence[int], log: Path, out: Path
    ) -> None:
        self.process = process
        self.http, self.grpc, self.view = (f"127.0.0.1:{port}" for port in ports)
        self.metrics_port = ports[2]
        self._log, self._out = log, out

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def out(self) -> str:
        return self._out.read_text()

    def report(self) -> dict[str, Any]:
        return httpx.get(f"http://{self.view}/", timeout=5).json()

    def pids(self) -> list[int]:
        return [each["pid"] for each in self.report()["processes"]]

    def complete(self) -> bool:
        try:
            return all(each["ready"] for each in self.report()["processes"])
        except httpx.HTTPError:
            return False

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, self.log[-4000:]
            assert time.monotonic() < deadline, self.log[-4000:]
            time.sleep(0.05)


@contextmanager
def up(folder: Path, *options: str, count: int = 2, counts: Sequence[str] = ()) -> Iterator[Up]:
    """`counts` are of tiers, in the place of whole servers."""
    repository = Repository(folder)
    repository.write("plus")
    ports = free_ports(3)
    command = [
        *(sys.executable, "-m", "server.cli", "up", str(repository.path), *(counts or [f"--all={count}"])),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1", "--verify-models=false"),
        *(f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", f"--metrics-port={ports[2]}"),
        *("--access-log=false", *options),
    ]
    with (folder / "log").open("wb") as log, (folder / "out").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=log, cwd=ROOT)
    fleet = Up(process, ports, folder / "log", folder / "out")
    try:
        fleet.until(fleet.complete)
        yield fleet
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up"), "--log-format=json") as fleet:
        yield fleet


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "server.cli", "up", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def samples(fleet: Up) -> dict[tuple[str, str, str], float]:
    """By name, role and process."""
    page = httpx.get(f"http://{fleet.view}/metrics", timeout=10).text
    return {
        (sample.name, sample.labels["role"], sample.labels["process"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def rolled_without_a_loss(fleet: Up) -> None:
    before = fleet.pids()
    with clients(fleet.http, fleet.grpc) as asking:
        fleet.until(lambda: len(asking.answered) == 6)
        done = command(
            "--rolling-restart", "--metrics-address=127.0.0.1", f"--metrics-port={fleet.metrics_port}"
        )
        assert done.returncode == 0, done.stderr
        told = sum(asking.answered.values())
        fleet.until(lambda: sum(asking.answered.values()) > told + 100)
    assert dict(asking.failed) == {}
    assert set(before) & set(fleet.pids()) == set()
    assert {line for line in done.stdout.splitlines() if "is now process" in line} == {
        f"{each['role']}.{each['process']} is now process {each['pid']}"
        for each in fleet.report()["processes"]
    }


def test_a_rolling_restart_loses_no_request_of_any_client(fleet):
    rolled_without_a_loss(fleet)


@pytest.mark.slow
def test_nor_does_it_where_grpcio_serves_alone(tmp_path):
    with up(tmp_path, "--grpc-front=grpcio") as fleet:
        for _ in range(3):
            rolled_without_a_loss(fleet)


@pytest.mark.slow
def test_nor_does_it_where_each_tier_is_one_process(tmp_path):
    with up(tmp_path, counts=["--gateway=1", "--predict=1"]) as fleet:
        for _ in range(2):
            rolled_without_a_loss(fleet)


def test_a_killed_process_comes_back_and_the_other_answers_meanwhile(fleet):
    fleet.until(fleet.complete)
    killed, kept = fleet.pids()
    with clients(fleet.http, fleet.grpc) as asking:
        fleet.until(lambda: len(asking.answered) == 6)
        os.kill(killed, signal.SIGKILL)
        fleet.until(lambda: not fleet.report()["processes"][0]["ready"])
        lost = {kind: len(said) for kind, said in asking.failed.items()}
        counted = sum(asking.answered.values())
        fleet.until(lambda: sum(asking.answered.values()) > counted + 50)
        assert fleet.report()["ready"], "there is the other one"
        fleet.until(fleet.complete)
    assert fleet.pids()[0] != killed
    assert fleet.pids()[1] == kept
    assert fleet.report()["processes"][0]["restarts"] == 1
    assert {kind: len(said) for kind, said in asking.failed.items()} == lost, (
        "lost is what it had, and no more"
    )
    assert max(lost.values(), default=0) <= 2


def test_the_metrics_are_those_of_every_process_and_our_own(fleet):
    fleet.until(fleet.complete)
    for _ in range(40):
        assert httpx.get(f"http://{fleet.http}/v2/health/ready").status_code == 200
    shown = samples(fleet)
    for process in "01":
        assert shown["tercet_process_up", "all", process] == 1
        assert ("nv_inference_request_success_total", "all", process) in shown or (
            "nv_inference_request_success",
            "all",
            process,
        ) in shown
    assert httpx.get(f"http://{fleet.view}/v2/health/ready").status_code == 200
    assert httpx.get(f"http://{fleet.view}/nowhere").status_code == 404
    assert httpx.post(f"http://{fleet.view}/").status_code == 405


def test_new_connections_are_dealt_out_to_all_processes(fleet):
    fleet.until(fleet.complete)
    before = samples(fleet)
    for _ in range(40):
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]}
        assert httpx.post(f"http://{fleet.http}/v2/models/plus/infer", json=body).status_code == 200
    after = samples(fleet)
    name = next(name for name, *_ in after if name.startswith("nv_inference_request_success"))
    answered = [after[name, "all", process] - before[name, "all", process] for process in "01"]
    assert sum(answered) == 40
    assert min(answered) > 0


def test_each_line_of_the_log_is_one_object_that_says_whose_it_is(fleet):
    fleet.until(fleet.complete)
    lines = [json.loads(line) for line in fleet.log.splitlines()]
    ready = {(each["role"], each["process"]) for each in lines if each["event"] == "server_ready"}
    assert ready == {("all", 0), ("all", 1)}
    assert {each["by"] for each in lines if each["event"] == "fleet_up"} == {"supervisor"}
    assert "all.0" in fleet.out, "the table"


def test_a_fleet_that_is_told_to_go_goes_and_leaves_nobody(tmp_path):
    with up(tmp_path, count=1) as fleet:
        pids = fleet.pids()
        fleet.process.send_signal(signal.SIGINT)
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.process.wait(PATIENCE_S) == 0
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []
    assert fleet.log.count("server_drained") == 1


@pytest.mark.slow
def test_processes_that_lose_their_supervisor_drain_and_end_by_themselves(tmp_path):
    with up(tmp_path, f"--log-file={tmp_path / 'kept'}", count=1) as fleet:
        processes = [psutil.Process(pid) for pid in fleet.pids()]
        fleet.process.kill()
        _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    assert "all.0 | " in (tmp_path / "kept").read_text()


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--manifest-public-key=nowhere.pem", "--manifest-public-key: "),
        ("--http-port={taken}", "cannot listen on 127.0.0.1:{taken}: Address already in use"),
    ],
)
def test_what_cannot_start_is_told_at_once(option, sentence, tmp_path):
    repository = Repository(tmp_path)
    (taken, *rest) = free_ports(3)
    with socket.create_server(("127.0.0.1", taken)):
        done = command(
            *(str(repository.path), "--all=1", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
            *(f"--http-port={rest[0]}", "--grpc-port=0", "--metrics-port=0"),
            option.format(taken=taken),
        )
    assert done.returncode == 1
    assert sentence.format(taken=taken) in done.stderr
