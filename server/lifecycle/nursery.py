"""The parent of trials: a small process that forks one child for each candidate, and watches it.

It has imported what every trial needs and runs a single thread, so a fork is safe and costs
milliseconds, where a new interpreter costs a third of a second, and one with torch more than one. The
server starts it when a candidate comes (`server.lifecycle.trials`), one for each platform, and it goes
when it has been idle for a while or the server is gone: its end of the control socket tells.

    server -> nursery    a socket for the answers, and a pickled `Job` or `PreparationJob`
    child  -> server     lines of JSON on that socket: {"at": stage} as it goes, and {"verdict": {...}},
                         or {"prepared": why not}
    nursery -> server    the last line: {"ending": {...}}

A child that goes over a limit is first asked, by SIGUSR1, to print where it is. A child is a session of
its own, without core dumps, of low priority, the first that the kernel kills when memory runs out; it
dies with the nursery. What it leaves running is killed.
"""

import faulthandler
import json
import os
import pickle
import resource
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np

from runtimes.forking import adopt_orphans, die_with_parent, kill_group, kill_orphans
from runtimes.opening import import_runtime, run_first
from server.domain.configuration import Platform
from server.lifecycle.ending import Ending, Limits
from server.lifecycle.memory import resident_bytes
from server.lifecycle.part_trial import judge_part
from server.lifecycle.preparation import PreparationJob, prepare
from server.lifecycle.trial import judge

TICK_S = 0.02
"""Between two looks at the memory of the children."""

IDLE_S = 60.0
"""Without a candidate for so long, the process goes and gives its memory back."""

NO_RUNTIME = "code"
"""In place of a platform: candidates of which only code of their own is tried, and no runtime is imported."""

NICENESS = 10
LAST_WORDS_S = 5.0
"""For a child over its time to print where it is."""

IT_TELLS = b"(most recent call first)"
"""As `faulthandler` begins to; it writes a line at a time."""

A_BREATH_S = 0.2
"""For the rest of its lines."""

SAID_BYTES = 4096
"""Kept of what a child prints: the end of it tells why native code gave up."""

PIPE_BYTES = 65_536
"""What a pipe holds."""

HEAD = struct.Struct("!Q")


@dataclass(slots=True)
class _Child:
    """A trial under way."""

    pid: int
    answers: socket.socket
    output: int
    began_s: float
    resident_bytes: int
    peak_bytes: int = 0
    limit: Literal["", "time", "memory"] = ""
    ends_s: float = 0.0
    said: bytearray = field(default_factory=bytearray)

    def read(self) -> int:
        """Take up to `PIPE_BYTES` of what it has printed, of which the end is kept; 0 where no more comes."""
        said = os.read(self.output, PIPE_BYTES)
        self.said = (self.said + said)[-SAID_BYTES:]
        return len(said)

    def read_what_is_left(self) -> None:
        """Its last words may lie in the pipe still: at most a pipe's fill, as another may yet write."""
        os.set_blocking(self.output, False)
        with suppress(BlockingIOError):
            self.read()


def main(arguments: list[str]) -> None:
    """What the server runs: the control socket's number, the limits, and the platform."""
    control, timeout_s, memory_bytes, platform = arguments
    adopt_orphans()
    np.random.default_rng()  # numpy imports that part when it is first used: it is no candidate's
    if platform == Platform.TORCHSCRIPT:  # onnxruntime starts a thread when it is imported: the child's to do
        import_runtime(platform)
    limits = Limits(timeout_s=float(timeout_s), memory_bytes=int(memory_bytes))
    _Nursery(socket.socket(fileno=int(control)), limits, platform).serve()


class _Nursery:
    def __init__(self, control: socket.socket, limits: Limits, platform: str) -> None:
        self._control = control
        self._limits = limits
        self._platform = platform
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the server is gone, or nothing was to do for long."""
        try:
            while True:
                events = self._selector.select(TICK_S if self._children else IDLE_S)
                if not events and not self._children:
                    return
                for key, _ in events:
                    if key.fileobj is self._control:
                        if not self._receive():
                            return
                    elif key.data is not None:
                        self._hear(key.data, key.fd)
                for child in list(self._children.values()):
                    self._watch(child)
                self._reap()
        finally:
            for child in self._children.values():
                kill_group(child.pid)

    def _receive(self) -> bool:
        """Begin a trial; False where the server has gone."""
        head, descriptors, _, _ = socket.recv_fds(self._control, HEAD.size, 1)
        if len(head) < HEAD.size or not descriptors:
            return False
        (size,) = HEAD.unpack(head)
        job = bytearray()
        while len(job) < size:
            part = self._control.recv(min(1 << 20, size - len(job)))
            if not part:
                return False
            job += part
        self._fork(socket.socket(fileno=descriptors[0]), bytes(job))
        return True

    def _fork(self, answers: socket.socket, job: bytes) -> None:
        output, printed = os.pipe()
        pid = os.fork()
        if not pid:
            strangers = [output, self._control.fileno(), self._selector.fileno()]
            for sibling in self._children.values():
                strangers += [sibling.output, sibling.answers.fileno()]
            _be_a_child(answers, printed, strangers, job, self._platform)
        os.close(printed)
        child = _Child(pid, answers, output, monotonic(), resident_bytes(pid))
        self._children[pid] = child
        self._selector.register(output, selectors.EVENT_READ, child)
        self._selector.register(answers, selectors.EVENT_READ, child)

    def _hear(self, child: _Child, descriptor: int) -> None:
        """Keep the end of what it prints; end it where nobody waits for its answer any more."""
        if descriptor == child.output:
            if not child.read():
                self._selector.unregister(child.output)
            if child.limit and IT_TELLS in child.said:
                child.ends_s = min(child.ends_s, monotonic() + A_BREATH_S)
        else:
            self._selector.unregister(child.answers)
            kill_group(child.pid)

    def _watch(self, child: _Child) -> None:
        taken = resident_bytes(child.pid) - child.resident_bytes
        child.peak_bytes = max(child.peak_bytes, taken)
        if child.limit:
            if monotonic() > child.ends_s:
                kill_group(child.pid)
            return
        if taken > self._limits.memory_bytes:
            child.limit = "memory"
        elif monotonic() - child.began_s > self._limits.timeout_s:
            child.limit = "time"
        if child.limit:
            child.ends_s = monotonic() + (LAST_WORDS_S if child.limit == "time" else 0)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGUSR1)

    def _reap(self) -> None:
        """Take leave of every child that has ended, and of what candidates have left behind."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                break
            if ended.si_pid in self._children:
                kill_group(ended.si_pid)  # while its number is still its own
            _, status, used = os.wait4(ended.si_pid, 0)
            child = self._children.pop(ended.si_pid, None)
            if child is not None:
                self._report(child, status, used.ru_maxrss * 1024)
        if not self._children:
            kill_orphans()

    def _report(self, child: _Child, status: int, most_bytes: int) -> None:
        for descriptor in (child.output, child.answers):
            with suppress(KeyError, ValueError):
                self._selector.unregister(descriptor)
        child.read_what_is_left()
        ending = Ending(
            limit=child.limit,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            peak_bytes=max(child.peak_bytes, most_bytes - child.resident_bytes, 0),
            said=child.said.decode(errors="replace"),
        )
        with suppress(OSError):  # nobody waits for it any more, or reads
            child.answers.settimeout(1.0)
            _write(child.answers, {"ending": asdict(ending)})
        child.answers.close()
        os.close(child.output)


def _be_a_child(
    answers: socket.socket, printed: int, strangers: list[int], job: bytes, platform: str
) -> None:
    """The trial itself. Never returns, and runs nothing that was registered for an exit."""
    try:
        _confine(printed, strangers)
        import_runtime(platform)
        with suppress(Exception):  # a runtime that cannot do this is no fault of the candidate's
            run_first(platform)  # nor is what the first model of a process costs

        def tell(stage: str) -> None:
            _write(answers, {"at": stage})

        wanted = pickle.loads(job)
        if isinstance(wanted, PreparationJob):
            _write(answers, {"prepared": prepare(wanted, tell)})
        else:
            verdict = (judge_part if platform == NO_RUNTIME else judge)(wanted, tell)
            _write(answers, {"verdict": verdict.to_json()})
        os._exit(0)
    except BaseException as error:  # a fault of ours: the server says so, and nobody else is left to
        with suppress(OSError):
            _write(answers, {"fault": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(1)


def _confine(printed: int, strangers: list[int]) -> None:
    die_with_parent()
    os.setsid()
    for descriptor in strangers:
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _write(answers: socket.socket, line: dict[str, Any]) -> None:
    answers.sendall(json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
