"""One line per request, written off the request's path.

A door records facts in a bounded line-up and goes on; a thread of ours turns them into JSON lines
and writes them, many at once. When the log cannot keep up, lines are dropped and counted, and
requests are not slowed.
"""

import json
import threading
from collections import deque
from datetime import UTC, datetime
from time import time
from types import TracebackType
from typing import Self, TextIO

Record = tuple[float, str, str, str, str, str, int, int, int, int, float, int]


class AccessLog:
    """Entered once; leaving it writes what is left. `stream` is the caller's."""

    def __init__(self, stream: TextIO, *, max_waiting: int = 50_000, every_s: float = 0.2) -> None:
        self._stream = stream
        self._waiting: deque[Record] = deque()
        self._max_waiting = max_waiting
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="access log", daemon=True)
        self.dropped = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def record(
        self,
        request_id: str,
        door: str,
        peer: str,
        model: str,
        version: str,
        rows: int,
        batch_rows: int,
        queue_ns: int,
        compute_ns: int,
        total_s: float,
        status: int,
    ) -> None:
        """Note one finished request. `status` is the code of the door that it came by."""
        if len(self._waiting) >= self._max_waiting:
            self.dropped += 1
            return
        self._waiting.append(
            (
                time(),
                request_id,
                door,
                peer,
                model,
                version,
                rows,
                batch_rows,
                queue_ns,
                compute_ns,
                total_s,
                status,
            )
        )

    def _write_on(self) -> None:
        while not self._stop.wait(self._every_s):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = []
        while self._waiting:
            at, request_id, door, peer, model, version, rows, batch, queue_ns, compute_ns, total_s, status = (
                self._waiting.popleft()
            )
            lines.append(
                json.dumps(
                    {
                        "event": "request",
                        "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
                        "request_id": request_id,
                        "door": door,
                        "peer": peer,
                        "model": model,
                        "version": version,
                        "rows": rows,
                        "batch_rows": batch,
                        "queue_us": queue_ns // 1000,
                        "compute_us": compute_ns // 1000,
                        "total_us": int(total_s * 1e6),
                        "status": status,
                    }
                )
            )
        if lines:
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads the stream any more: requests go on
                self.dropped += len(lines)
