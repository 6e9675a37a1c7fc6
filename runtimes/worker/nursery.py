"""The parent of worker processes: a small process that forks one when it is told to, and says how each ended.

It has imported what can be shared and runs a single thread, so a fork is safe and costs milliseconds, and
the pages of the libraries are there once for all of its workers. The server starts it with the first worker
(`runtimes.worker.start`). It never touches a model, so it always sees at once that the server has gone,
however that came, and then kills its workers; they die with it, too.

    server  -> nursery   one byte, and four descriptors: the worker's end of its control socket, its slab,
                         what it prints to, and a socket to report on
    nursery -> server    on that socket, a line {"pid": 123}, and when it has ended {"signal": 11, "code": 0}

When the server closes its side of that socket for writing, the worker is killed.
"""

import faulthandler
import json
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from runtimes.forking import adopt_orphans, die_with_parent, kill_group, kill_orphans
from runtimes.opening import import_runtime
from runtimes.worker.process import serve

IDLE_S = 60.0
"""Without a worker for so long, the process goes and gives its memory back."""

DESCRIPTORS = 4
NEW_WORKER = b"*"
OUT_OF_MEMORY_SCORE = "500"
"""Where memory runs out the kernel kills a worker before the server, and a trial before a worker."""


def main(arguments: list[str]) -> None:
    """What the server runs: the control socket's number, and a platform to import, or nothing."""
    control, *platforms = arguments
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the server, which ends us when it has drained
        signal.signal(number, signal.SIG_IGN)
    adopt_orphans()
    for platform in platforms:
        import_runtime(platform)
    _Nursery(socket.socket(fileno=int(control))).serve()


class _Nursery:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._reports: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._wake, woken = socket.socketpair()
        for each in (self._wake, woken):
            each.setblocking(False)
        self._woken = woken
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the server is gone, or nothing was to do for long."""
        try:
            while True:
                events = self._selector.select(None if self._reports else IDLE_S)
                if not events:
                    return
                for key, _ in events:
                    if key.fileobj is self._control:
                        if not self._receive():
                            return
                    elif key.fileobj is self._wake:
                        with suppress(BlockingIOError):
                            self._wake.recv(4096)
                        self._reap()
                    else:  # the server wants it to end
                        self._selector.unregister(key.fileobj)
                        kill_group(key.data)
        finally:
            for pid in self._reports:
                kill_group(pid)

    def _receive(self) -> bool:
        """Fork a worker; False where the server has gone."""
        said, descriptors, _, _ = socket.recv_fds(self._control, len(NEW_WORKER), DESCRIPTORS)
        if not said or len(descriptors) < DESCRIPTORS:
            return False
        control, slab, output, report = descriptors
        pid = os.fork()
        if not pid:
            strangers = [self._control, self._wake, self._woken, *self._reports.values()]
            self._be_a_worker(control, slab, output, [*(each.fileno() for each in strangers), report])
        for descriptor in (control, slab, output):
            os.close(descriptor)
        self._reports[pid] = socket.socket(fileno=report)
        self._tell(self._reports[pid], {"pid": pid})
        self._selector.register(self._reports[pid], selectors.EVENT_READ, pid)
        return True

    def _reap(self) -> None:
        """Report every worker that has ended; kill what it has left behind."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            report = self._reports.pop(ended.si_pid, None)
            if report is not None:
                kill_group(ended.si_pid)  # while its number is still its own
            _, status = os.waitpid(ended.si_pid, 0)
            if report is None:
                continue
            kill_orphans(spared=self._reports)
            with suppress(KeyError):
                self._selector.unregister(report)
            died = os.WIFSIGNALED(status)
            told = {
                "signal": os.WTERMSIG(status) if died else 0,
                "code": 0 if died else os.WEXITSTATUS(status),
            }
            self._tell(report, told)
            report.close()

    @staticmethod
    def _tell(report: socket.socket, told: dict[str, int]) -> None:
        with suppress(OSError):  # nobody asks any more
            report.sendall(json.dumps(told).encode() + b"\n")

    def _be_a_worker(self, control: int, slab: int, output: int, strangers: list[int]) -> NoReturn:
        try:
            die_with_parent()
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for descriptor in strangers:
                os.close(descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            faulthandler.enable(all_threads=False)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
            serve(socket.socket(fileno=control), slab)
        except BaseException:  # a fault of ours: what it prints is in the server's log
            traceback.print_exc()
        finally:
            os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
