"""Remote repositories as the app follows them: what a start and what a load has on this node."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from server.app.mirrors import Mirrors
from server.repository.remote.cache import ObjectCache
from server.repository.remote.listing import Listing, RemoteFile
from server.repository.remote.mirror import Mirror
from server.repository.remote.store import StoreFault
from tests.lifecycle.shelf import plus


class Objects:
    """A store in memory, which fails so many reads as a test tells it to."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.failures = 0

    def list(self) -> Listing:
        return {path: RemoteFile(len(content), str(len(content))) for path, content in self._objects.items()}

    def read(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        if self.failures:
            self.failures -= 1
            raise StoreFault("it is not its day", is_gone=True)
        yield 0, self._objects[path]

    def tag(self, path: str) -> str:
        return str(len(self._objects[path]))


@contextmanager
def mirroring(folder: Path, store: Objects, *at_start: str) -> Iterator[tuple[Mirrors, Path]]:
    """The mirrors of a server in mode explicit, and the folder of its one repository."""
    mirror = Mirror(
        "memory://", store, ObjectCache(folder / "cache", 1_000_000), settle_s=0.0, everything=False
    )
    with ThreadPoolExecutor(2) as fetchers, ThreadPoolExecutor(2) as listers:
        yield (
            Mirrors({"memory://": mirror}, fetchers, listers, poll_s=None, at_start=at_start),
            mirror.path,
        )
        mirror.close()


async def test_what_is_named_at_the_start_is_fetched_again_when_that_failed(tmp_path):
    store = Objects({"m/1/model.onnx": plus(1)})
    store.failures = 1
    with mirroring(tmp_path, store, "m") as (mirrors, folder):
        await asyncio.wait_for(mirrors.follow(), 20)
        assert store.failures == 0
        assert (folder / "m/1/model.onnx").exists()
