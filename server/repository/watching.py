"""Follows the repositories: a fresh set of offers whenever something in them has changed.

Events of the file system wake it, and a scan now and then does where there are none (network shares); what is
about to come to rest is looked at when it is due. All of it happens in threads; the event loop only waits.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from watchfiles._rust_notify import (  # the documented backend: its wait takes a time limit for each call
    RustNotify,
    WatchfilesRustInternalError,
)

from server.domain.offer import Offers
from server.repository.scanner import Scanner

log = structlog.get_logger()

_GATHER_MS = 1_000
"""While files change without pause, look this often."""

_PAUSE_MS = 200
"""A pause of this length between changes ends a wait; also how long a cancelled wait goes on.

The wait wakes this often where nothing changes, too: at 50 ms it took a quarter of what an idle server does.
"""

_MARGIN_S = 0.002
"""Look this much after something is due, so that it is."""


async def watch(scanner: Scanner, poll_s: float) -> AsyncIterator[Offers]:
    """Yield what is offered now, and then every time that it changes, for ever.

    `poll_s` is the longest time between two looks. The caller owns the generator: it ends with the
    task that iterates over it, or with `aclose`, and its thread within a fifth of a second after.
    A change that comes while the caller is busy is found by the next look.
    """
    changes = _Changes(scanner.repositories)
    offers: Offers | None = None
    try:
        while True:
            await asyncio.to_thread(changes.follow)  # first, so that what changes during the scan is seen
            scan = await asyncio.to_thread(scanner.scan)
            if scan.offers != offers:
                offers = scan.offers
                yield offers
            due_s = poll_s if scan.wait_s is None else min(poll_s, scan.wait_s + _MARGIN_S)
            await asyncio.to_thread(changes.wait, due_s)
    finally:
        changes.stop()


async def scan_once(scanner: Scanner, patience_s: float = 30.0) -> Offers:
    """What is offered once everything is at rest, or after `patience_s`, whichever is first."""
    until_s = time.monotonic() + patience_s
    while True:
        scan = await asyncio.to_thread(scanner.scan)
        left_s = until_s - time.monotonic()
        if scan.wait_s is None or left_s <= 0:
            return scan.offers
        await asyncio.sleep(min(scan.wait_s + _MARGIN_S, left_s))


class _Changes:
    """The file system's events under some folders. One thread at a time, but `stop` from any.

    Where there are no events (a folder is not there, no watches are left), a wait takes its whole time.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._followed: dict[Path, tuple[int, int]] = {}
        self._notify: RustNotify | None = None
        self._stopping = threading.Event()

    def follow(self) -> None:
        """Follow the folders that are there now; a folder made anew is another one."""
        present = {}
        for folder in self._folders:
            try:
                facts = folder.stat()
                present[folder] = (facts.st_dev, facts.st_ino)
            except OSError:  # the scanner says so
                continue
        if present == self._followed:
            return
        self._followed, self._notify = present, None
        if present:
            try:
                self._notify = RustNotify([str(folder) for folder in present], False, False, 0, True, True)
            except OSError as error:
                log.warning("no_file_events", folders=[str(folder) for folder in present], reason=str(error))

    def wait(self, at_most_s: float) -> None:
        """Return soon after something changes, after `at_most_s`, or when stopped."""
        if self._notify is None:
            self._stopping.wait(at_most_s)
        else:
            try:
                self._notify.watch(_GATHER_MS, _PAUSE_MS, max(int(at_most_s * 1000), 1), self._stopping)
            except WatchfilesRustInternalError as error:
                log.warning(
                    "no_file_events", folders=[str(folder) for folder in self._followed], reason=str(error)
                )
                self._followed = {}  # so that it is tried again
                self._stopping.wait(at_most_s)

    def stop(self) -> None:
        self._stopping.set()
