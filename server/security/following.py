"""Hears when files change that are read once and kept: keys, certificates.

What is looked at is the file that a path leads to in the end, as a mounted secret is changed by a link.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

LOOK_AGAIN_S = 5.0
"""Where nothing tells of a change, as with some network folders, it is seen by then."""

Stamp = tuple[int, int, int] | None
Stamps = Sequence[Stamp]


async def follow(
    files: Sequence[Path],
    changed: Callable[[], None],
    closing: asyncio.Event,
    *,
    since: Stamps | None = None,
) -> None:
    """Call `changed` whenever one of the files is another than before, until `closing` is set.

    `since` are the stamps of before they were read first: what changed since then is told at once.
    """
    stamps = stamps_of(files)
    if since is not None and since != stamps:
        changed()
    folders = {file.parent for file in files}
    looks = awatch(
        *folders,
        stop_event=closing,
        recursive=False,
        rust_timeout=int(LOOK_AGAIN_S * 1000),
        yield_on_timeout=True,
    )
    async for _ in looks:
        now = stamps_of(files)
        if now != stamps:
            stamps = now
            changed()


def stamps_of(files: Sequence[Path]) -> Stamps:
    """None for a file that is not there."""
    return [_stamp(file) for file in files]


def _stamp(file: Path) -> Stamp:
    with suppress(OSError):
        status = file.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None
