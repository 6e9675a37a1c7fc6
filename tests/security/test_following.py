import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from server.security.following import follow, stamps_of

WITHIN_S = 20


class Followed:
    """Hears what is told."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def hears_of(self, change: Callable[[], object]) -> None:
        """Make the change again and again until it is told: the watch is set up by a thread, which tells
        nobody when."""
        self.told.clear()
        async with asyncio.timeout(WITHIN_S):
            while not self.told.is_set():
                change()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self.told.wait()


@pytest.fixture
async def followed(tmp_path):
    """A file that is mounted as Kubernetes mounts a secret, and another beside it."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "data").symlink_to("first")
    (tmp_path / "file").symlink_to("data/file")
    (tmp_path / "other").write_text("other")
    followed, closing = Followed(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow([tmp_path / "file", tmp_path / "other"], followed.told.set, closing))
        yield followed
        closing.set()


async def test_a_file_that_is_written_replaced_linked_anew_or_gone_is_told(followed, tmp_path):
    file, other, data = tmp_path / "file", tmp_path / "other", tmp_path / "data"
    await followed.hears_of(lambda: other.write_text(f"{other.read_text()} and more"))
    await followed.hears_of(lambda: put(other))
    await followed.hears_of(lambda: link(data, "first" if file.read_text() == "second" else "second"))
    await followed.hears_of(lambda: other.unlink(missing_ok=True))


async def test_what_changed_before_anybody_looked_is_told_at_once(tmp_path):
    file, told, closing = tmp_path / "file", asyncio.Event(), asyncio.Event()
    file.write_text("read")
    since = stamps_of([file])
    put(file)
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow([file], told.set, closing, since=since))
        await told.wait()
        closing.set()


def put(file: Path) -> None:
    new = file.with_suffix(".new")
    new.write_text("new")
    new.replace(file)


def link(file: Path, to: str) -> None:
    new = file.with_suffix(".new")
    new.symlink_to(to)
    new.replace(file)
