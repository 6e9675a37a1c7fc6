"""Following a repository while it changes: real files, real events, real time."""

import asyncio
import contextlib
import os
import threading
import time

import pytest

from server.repository.scanner import Scanner
from server.repository.watching import scan_once, watch

SETTLE_S = 0.3
PATIENCE_S = 10.0


class Follower:
    """Collects what a watch yields, until the test has seen enough."""

    def __init__(self, scanner: Scanner, poll_s: float = 60.0) -> None:
        self.seen = []
        self._came = asyncio.Event()
        self._scanner, self._poll_s = scanner, poll_s

    async def __aenter__(self):
        self._task = asyncio.create_task(self._follow())
        await self.until(lambda: self.seen)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        async for offers in watch(self._scanner, self._poll_s):
            self.seen.append(offers)
            self._came.set()

    async def until(self, enough) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                self._came.clear()
                await self._came.wait()

    def fingerprints(self, model: str, version: int = 1) -> list[str]:
        """Each different content of a version that was offered, in order."""
        offered = [
            offers[model].versions[version].fingerprint
            for offers in self.seen
            if model in offers and version in offers[model].versions
        ]
        return [one for at, one in enumerate(offered) if at == 0 or one != offered[at - 1]]


@pytest.fixture
def scanner(repository):
    return Scanner([repository.path], settle_s=SETTLE_S)


def copy_slowly(path, content, seconds):
    pieces = [content[at : at + 65_536] for at in range(0, len(content), 65_536)]
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            file.flush()
            time.sleep(seconds / len(pieces))


async def test_a_model_copied_in_pieces_is_offered_once_and_only_when_complete(
    repository, scanner, large_bytes
):
    async with Follower(scanner) as follower:
        folder = repository.path / "m/1"
        folder.mkdir(parents=True)
        await asyncio.to_thread(copy_slowly, folder / "model.onnx", large_bytes, 1.0)
        assert not any("m" in offers and offers["m"].versions for offers in follower.seen)
        done = time.monotonic()
        await follower.until(lambda: follower.fingerprints("m"))
        assert time.monotonic() - done < SETTLE_S + 2.0
        await asyncio.sleep(3 * SETTLE_S)
        assert len(follower.fingerprints("m")) == 1


async def test_a_copy_that_pauses_longer_than_the_quiet_is_not_taken_for_complete(
    repository, scanner, large_bytes
):
    async with Follower(scanner) as follower:
        folder = repository.path / "m/1"
        folder.mkdir(parents=True)
        with (folder / "model.onnx").open("wb") as file:
            file.write(large_bytes[:500_000])
            file.flush()
            await asyncio.sleep(3 * SETTLE_S)
            assert follower.fingerprints("m") == []
            file.write(large_bytes[500_000:])
        await follower.until(lambda: follower.fingerprints("m"))


async def test_a_version_moved_in_by_rename_is_offered_before_the_quiet_is_over(staging, repository):
    repository.put("m", 1)
    patient = Scanner([repository.path], settle_s=30.0, wall_clock=lambda: time.time() + 3600)
    async with Follower(patient) as follower:
        await follower.until(lambda: follower.fingerprints("m", 1))
        staged = staging.put("m", 2)
        await asyncio.sleep(0.05)
        staged.rename(repository.path / "m/2")
        await follower.until(lambda: follower.fingerprints("m", 2))


async def test_touching_and_editing_beside_the_content_yields_nothing(repository, scanner):
    folder = repository.put("m")
    async with Follower(scanner) as follower:
        await follower.until(lambda: follower.fingerprints("m"))
        before = len(follower.seen)
        os.utime(folder / "model.onnx")
        (folder / ".model.onnx.swp").write_text("x")
        (folder / "README.md").write_text("x")
        (repository.path / "README.md").write_text("x")
        await asyncio.sleep(4 * SETTLE_S)
        assert len(follower.seen) == before


async def test_a_broken_model_does_not_hide_the_next_and_is_offered_once_it_is_mended(repository, scanner):
    repository.put("m1", config="max_batch_sise: 1")
    async with Follower(scanner) as follower:
        await follower.until(lambda: follower.seen[-1].get("m1") and follower.seen[-1]["m1"].problem)
        repository.put("m2")
        await follower.until(lambda: follower.fingerprints("m2"))
        (repository.path / "m1/config.pbtxt").write_text("max_batch_size: 1")
        await follower.until(lambda: follower.fingerprints("m1"))
        assert follower.seen[-1]["m1"].problem == ""


async def test_a_file_system_without_events_is_scanned(repository, scanner, monkeypatch):
    def refuse(*_):
        raise OSError("no watches left")

    monkeypatch.setattr("server.repository.watching.RustNotify", refuse)
    async with Follower(scanner, poll_s=0.1) as follower:
        repository.put("m")
        await follower.until(lambda: follower.fingerprints("m"))


async def test_a_repository_made_after_the_start_is_followed(repository, scanner):
    repository.path.rmdir()
    async with Follower(scanner, poll_s=0.2) as follower:
        assert follower.seen == [{}]
        repository.put("m")
        await follower.until(lambda: follower.fingerprints("m"))


async def test_the_event_loop_goes_on_while_a_scan_takes_its_time(scanner, monkeypatch):
    scanning, go_on = threading.Event(), threading.Event()
    scan = scanner.scan

    def slow_scan():
        scanning.set()
        go_on.wait(PATIENCE_S)
        return scan()

    monkeypatch.setattr(scanner, "scan", slow_scan)
    first = asyncio.ensure_future(anext(watch(scanner, 60.0)))
    assert await asyncio.to_thread(scanning.wait, PATIENCE_S)
    go_on.set()
    assert await first == {}


async def test_a_cancelled_watch_ends_at_once_and_leaves_no_thread_waiting(scanner):
    async with Follower(scanner, poll_s=3600.0) as follower:
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    assert follower.seen
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - began < 1.0


async def test_one_scan_waits_until_everything_is_at_rest(repository, scanner):
    repository.put("m")
    offers = await scan_once(scanner)
    assert set(offers["m"].versions) == {1}


async def test_one_scan_does_not_wait_longer_than_its_patience(repository):
    repository.put("m", content=b"never a model")
    began = time.monotonic()
    offers = await scan_once(Scanner([repository.path], settle_s=0.1), patience_s=0.4)
    assert time.monotonic() - began < 1.0
    assert offers["m"].unsettled == {1}
