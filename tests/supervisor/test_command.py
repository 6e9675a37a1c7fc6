"""The supervisor as a process, over stand-ins: its signals, and what it says on its port."""

import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from server.supervisor.command import NotRolled, roll
from tests.server_process import ROOT, free_ports

PATIENCE_S = 20.0


class Supervisor:
    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def report(self) -> dict[str, Any]:
        return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).json()

    def complete(self) -> bool:
        try:
            return all(each["ready"] for each in self.report()["processes"])
        except httpx.HTTPError:
            return False

    def pids(self) -> set[int]:
        return {each["pid"] for each in self.report()["processes"]}

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.02)


@contextmanager
def supervisor(folder: Path, terminal: int | None = None) -> Iterator[Supervisor]:
    """With a `terminal`, that is the one it is at."""
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.supervisor.stand_in_fleet", str(port)],
            cwd=ROOT,
            env={**os.environ, "FOLDER": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=None if terminal is None else lambda: ioctl(terminal, termios.TIOCSCTTY, 0),
        )
    here = Supervisor(process, port, folder / "log")
    try:
        here.until(here.complete)
        yield here
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()


def test_a_hangup_is_a_rolling_restart(tmp_path):
    with supervisor(tmp_path) as fleet:
        before = fleet.pids()
        fleet.process.send_signal(signal.SIGHUP)
        fleet.until(lambda: fleet.report()["rolling_restart"]["state"] == "done")
        assert fleet.pids() & before == set()
        fleet.process.terminate()
        assert fleet.process.wait(PATIENCE_S) == 0


def test_but_who_closes_its_terminal_means_the_end(tmp_path):
    ours, theirs = pty.openpty()
    with supervisor(tmp_path, theirs) as fleet:
        pids = fleet.pids()
        os.close(theirs)
        os.close(ours)
        assert fleet.process.wait(PATIENCE_S) == 0
        assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_supervisor_that_is_killed_leaves_processes_that_end_by_themselves(tmp_path):
    with supervisor(tmp_path) as fleet:
        processes = [psutil.Process(pid) for pid in fleet.pids()]
        fleet.process.kill()
        _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    assert alive == []
    assert (tmp_path / "events").read_text().count('"left"') == 2


def test_the_port_answers_what_it_knows_and_stands_what_is_no_http(tmp_path):
    with supervisor(tmp_path) as fleet, httpx.Client(base_url=f"http://127.0.0.1:{fleet.port}") as client:
        for noise in (b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe /\r\n\r\n", b"x" * 100_000):
            with socket.create_connection(("127.0.0.1", fleet.port), timeout=5) as guest:
                guest.sendall(noise)
        assert client.get("/v2/health/ready").status_code == 200
        assert client.head("/").content == b""
        page = client.get("/metrics").text
        assert 'asked{role="all",process="1",by="x"} 3' in page
        assert 'tercet_process_up{role="all",process="0"} 1' in page
        assert 'tercet_process_state{role="all",process="0",state="up"} 1' in page
        victim = fleet.report()["processes"][0]["pid"]
        os.kill(victim, signal.SIGSTOP)  # it lives, and does not answer
        try:
            began = time.monotonic()
            page = client.get("/metrics", timeout=10).text
            assert time.monotonic() - began < 4
            assert 'tercet_process_up{role="all",process="0"} 0' in page
            assert 'bare{role="all",process="1"} 1' in page
            fleet.until(lambda: not fleet.complete())
        finally:
            os.kill(victim, signal.SIGCONT)
        fleet.until(fleet.complete)
        assert fleet.pids() >= {victim}, "who is slow is not killed"


def test_a_rolling_restart_is_not_sent_to_whoever_has_the_port_or_the_number(tmp_path):
    with supervisor(tmp_path) as fleet:
        metrics_port = fleet.report()["processes"][0]["metrics_port"]
        with pytest.raises(NotRolled) as caught:
            roll("127.0.0.1", metrics_port, within_s=5)
        assert str(caught.value) == f"what answers at 127.0.0.1:{metrics_port} is not `tercet up`"
        assert fleet.report()["rolling_restart"]["number"] == 0
