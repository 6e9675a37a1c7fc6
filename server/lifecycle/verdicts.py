"""Remembers verdicts by their key: in the process, and in a folder where there is one.

The folder is a cache. A file that cannot be read counts as none, a folder that cannot be written is told
of once, and what is kept is bounded; several servers may share it, since a file appears whole, by
rename. Its methods block for as long as the file system takes.
"""

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from server.lifecycle.verdict import Verdict, VerdictUnreadable

log = structlog.get_logger(__name__)

MOST = 20_000
"""Verdicts kept, in the process and in the folder: two for each model of a large repository."""

SPARE = 500
"""So many are dropped at once, so that a full folder is not listed for each new one."""


class Verdicts:
    """What is known of contents. Safe to call from any thread.

    folder   `verdicts` in the server's state directory; None to remember in the process alone
    """

    def __init__(self, folder: Path | None = None, most: int = MOST) -> None:
        self._folder = folder
        self._most = most
        self._known: dict[str, Verdict] = {}
        self._lock = threading.Lock()
        self._written: int | None = None
        self._said = False

    def of(self, key: str) -> Verdict | None:
        with self._lock:
            known = self._known.get(key)
        if known is not None or self._folder is None:
            return known
        path = self._folder / f"{key}.json"
        try:
            verdict = Verdict.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, VerdictUnreadable) as error:
            log.warning("verdict_unreadable", file=path.name, reason=str(error))
            return None
        self._keep(key, verdict)
        return verdict

    def put(self, key: str, verdict: Verdict) -> None:
        """Remember it; one that is not lasting is nothing to remember."""
        if not verdict.lasting:
            return
        self._keep(key, verdict)
        if self._folder is not None:
            with self._lock:
                try:
                    self._write(self._folder, key, verdict)
                except OSError as error:
                    self._complain(error)

    def _keep(self, key: str, verdict: Verdict) -> None:
        with self._lock:
            self._known[key] = verdict
            while len(self._known) > self._most:
                del self._known[next(iter(self._known))]

    def _write(self, folder: Path, key: str, verdict: Verdict) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path, half = folder / f"{key}.json", folder / f".{key}.{os.getpid()}.tmp"
        try:
            half.write_text(json.dumps(verdict.to_json()), encoding="utf-8")
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
        self._written = len(list(folder.glob("*.json"))) if self._written is None else self._written + 1
        if self._written > self._most:
            self._written = _thin_out(folder, self._most)

    def _complain(self, error: OSError) -> None:
        if not self._said:
            log.warning("verdicts_not_kept", folder=str(self._folder), reason=error.strerror)
        self._said = True


def _thin_out(folder: Path, most: int) -> int:
    """Drop the oldest files until there is room for some; how many are left."""
    dated = []
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):  # another server thins out too
            dated.append((path.stat().st_mtime_ns, path))
    dated.sort()
    going = dated[: max(0, len(dated) - most + min(SPARE, most // 2))]
    for _, path in going:
        path.unlink(missing_ok=True)
    return len(dated) - len(going)
