"""Remote repositories as the app follows them: what a start and what a load has on this node."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.app.mirrors import Mirrors
from server.app.orders import Orders
from server.domain.errors import LoadFailed
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.repository.remote.cache import ObjectCache
from server.repository.remote.listing import Listing, RemoteFile
from server.repository.remote.mirror import Mirror
from server.repository.remote.store import StoreFault
from server.repository.scanner import Remarks as Told
from server.repository.scanner import Scanner
from tests.lifecycle.life import over
from tests.lifecycle.shelf import plus


class Objects:
    """A store in memory. What is `failing` cannot be read once."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.failing: set[str] = set()

    def list(self) -> Listing:
        return {path: RemoteFile(len(content), str(len(content))) for path, content in self._objects.items()}

    def read(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        if path in self.failing:
            self.failing.remove(path)
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


ENSEMBLE = {
    "ens/config.pbtxt": over("m").encode(),
    "ens/1/nothing": b"",
    "m/config.pbtxt": b"max_batch_size: 4",
    "m/1/model.onnx": plus(1),
}


class HeldUp(Manager):
    """Whose calls wait at their end while the gate is shut."""

    def __init__(self) -> None:
        super().__init__(Loader(cpu_budget=1, max_queue_size=10), load_threads=1, retire_within_s=10)
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_held = asyncio.Event()

    async def settle(self, model: str) -> None:
        await super().settle(model)
        if not self.gate.is_set():
            self.is_held.set()
        await self.gate.wait()


class Remarks:
    """Those of a mirror, which a scan reads first; while the gate is shut, it waits for them."""

    def __init__(self, remarks: Told) -> None:
        self._remarks = remarks
        self.gate = threading.Event()
        self.gate.set()
        self.is_held = threading.Event()

    def __call__(self) -> Mapping[str, Mapping[int, str]]:
        if not self.gate.is_set():
            self.is_held.set()
        self.gate.wait(20)
        return self._remarks()


async def test_what_is_named_at_the_start_is_fetched_again_when_that_failed(tmp_path):
    store = Objects({"m/1/model.onnx": plus(1)})
    store.failing = {"m/1/model.onnx"}
    with mirroring(tmp_path, store, "m") as (mirrors, folder):
        await asyncio.wait_for(mirrors.follow(), 20)
        assert not store.failing
        assert (folder / "m/1/model.onnx").exists()


async def test_what_a_call_is_having_is_not_let_go_by_another(tmp_path):
    with mirroring(tmp_path, Objects({"m/1/model.onnx": plus(1)})) as (mirrors, folder):
        async with mirrors.having("m", None):
            await mirrors.release("m")
            assert (folder / "m/1/model.onnx").exists()
        await mirrors.release("m")
        assert not (folder / "m").exists()


async def test_an_unload_that_takes_long_leaves_what_a_load_has_brought_meanwhile(tmp_path):
    with mirroring(tmp_path, Objects({"m/1/model.onnx": plus(1)})) as (mirrors, folder):
        remarks = Remarks(mirrors.remarks[folder])
        scanner = Scanner([folder], settle_s=0.0, remarks={folder: remarks})
        async with HeldUp() as manager:
            with Orders(scanner, manager, mirrors, "explicit", poll_s=1) as orders:
                await mirrors.follow()
                await orders.follow()
                await orders.load("m", None, {})
                manager.gate.clear()
                unloading = asyncio.create_task(orders.unload("m"))
                await manager.is_held.wait()
                remarks.gate.clear()
                loading = asyncio.create_task(orders.load("m", None, {}))
                await asyncio.to_thread(remarks.is_held.wait, 20)
                manager.gate.set()
                await unloading
                remarks.gate.set()
                await loading
                assert manager.ready_versions("m") == [1]
                assert (folder / "m/1/model.onnx").exists()


async def test_a_member_of_an_ensemble_at_the_start_is_fetched_again_when_that_failed(tmp_path):
    store = Objects(ENSEMBLE)
    store.failing = {"m/1/model.onnx"}
    with mirroring(tmp_path, store, "ens") as (mirrors, folder):
        scanner = Scanner([folder], settle_s=0.0, remarks=mirrors.remarks)
        async with HeldUp() as manager:
            with Orders(scanner, manager, mirrors, "explicit", poll_s=1, at_start=["ens"]) as orders:
                await mirrors.follow()
                await orders.follow()
                await manager.all_settled()
                assert (manager.ready_versions("m"), manager.ready_versions("ens")) == ([1], [1])


async def test_another_load_of_an_ensemble_fetches_the_member_that_could_not_be_fetched(tmp_path):
    store = Objects(ENSEMBLE)
    store.failing = {"m/1/model.onnx"}
    with mirroring(tmp_path, store) as (mirrors, folder):
        scanner = Scanner([folder], settle_s=0.0, remarks=mirrors.remarks)
        async with HeldUp() as manager:
            with Orders(scanner, manager, mirrors, "explicit", poll_s=1) as orders:
                await mirrors.follow()
                await orders.follow()
                with pytest.raises(LoadFailed, match="depends on 'm'"):
                    await orders.load("ens", None, {})
                await orders.load("ens", None, {})
                assert (manager.ready_versions("m"), manager.ready_versions("ens")) == ([1], [1])
                await orders.unload("ens", dependents=True)
                assert not list(folder.iterdir()), "the member came along, and it goes along"
