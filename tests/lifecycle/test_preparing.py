"""Large models that left are prepared in a process of their own, and so opened when they come back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import structlog
from onnx import helper

from runtimes.onnx_preparing import GRAPH, WEIGHTS
from server.domain.configuration import ModelConfig
from server.lifecycle.idle import Origin
from server.lifecycle.instances import made_of
from server.lifecycle.prepared import MADE, PreparedModels, seal
from server.lifecycle.preparing import LEAST_BYTES, Preparing
from tests.e2e.workshop import FLOAT, STRING, value, written
from tests.lifecycle.family import Family
from tests.lifecycle.serving import Serving, serving
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.test_trials import trying
from tests.lifecycle.waiting import until

ROOM = 2**30


@pytest.fixture(autouse=True)
def family() -> Iterator[Family]:
    family = Family()
    yield family
    assert family.left_after(10) == []


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


def wide() -> bytes:
    """y = x times weights that are worth mapping."""
    weights = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    return written(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        [value("x", FLOAT, "n", 64)],
        [value("y", FLOAT, "n", 64)],
        weights=weights,
    )


def drawn() -> bytes:
    """y = x + what was drawn by chance."""
    return written(
        [
            helper.make_node("RandomNormalLike", ["x"], ["chance"]),
            helper.make_node("Add", ["x", "chance"], ["y"]),
        ],
        [value("x", FLOAT, "n", 2)],
        [value("y", FLOAT, "n", 2)],
    )


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def prepared(shelf: Shelf, into: Path, model: bytes, **config: object) -> str:
    """Why a version of this content was not prepared."""
    version = shelf.put(model=model)
    async with trying() as trials:
        offer = shelf.offer(version, config=ModelConfig(name="m", **config))
        return await trials.prepare(offer, version, into)


async def test_a_model_is_prepared_with_a_seal_in_a_process_of_its_own(shelf, into):
    assert await prepared(shelf, into, wide(), max_batch_size=8) == ""
    assert {path.name for path in into.iterdir()} == {GRAPH, WEIGHTS, MADE}


async def test_a_model_that_draws_by_chance_is_not_used_as_prepared(shelf, into):
    why_not = await prepared(shelf, into, drawn())
    assert why_not == "its output 'y' differs from the file's"
    assert not (into / MADE).exists()


async def test_a_model_that_takes_text_and_has_no_example_is_not_prepared(shelf, into):
    text = written(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", STRING, "n", 1)],
        [value("y", STRING, "n", 1)],
    )
    assert "it has no golden example" in await prepared(shelf, into, text)


async def test_code_that_ends_the_process_ends_the_preparation_alone(shelf, into):
    bad, good = shelf.put(1, pre_py="import os\nos.abort()\n"), shelf.put(2)
    async with trying() as trials:
        assert "crashed the process" in await trials.prepare(shelf.offer(bad), bad, into)
        assert await trials.prepare(shelf.offer(good), good, into) == ""


# Who is prepared, and when.


class Bench:
    """Preparing with a preparation that only notes, and waits until it is let go."""

    def __init__(
        self, folder: Path, group: asyncio.TaskGroup, least_bytes: int = 1, room: int = ROOM
    ) -> None:
        self.store = PreparedModels(folder, room)
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.says = ""
        self.is_over = False
        self.preparing = Preparing(
            self.store,
            self._prepare,
            lambda work, name: group.create_task(work, name=name),
            lambda: self.is_over,
            least_bytes=least_bytes,
        )

    async def _prepare(self, origin: Origin, into: Path) -> str:
        self.asked.append(origin.offer.name)
        await self.answers.wait()
        if not self.says:
            (into / GRAPH).write_bytes(b"graph")
            seal(into)
        return self.says


@asynccontextmanager
async def bench(tmp_path: Path, **how: int) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as group:
        yield Bench(tmp_path / "prepared", group, **how)


def origin_of(folder: Path, name: str) -> Origin:
    shelf = Shelf(folder / name)
    version = shelf.put(model=plus(len(name)))
    offer = shelf.offer(version)
    return Origin(offer, version, made_of(offer, version), {})


async def test_each_content_is_prepared_once_and_then_found(tmp_path):
    async with bench(tmp_path) as now:
        origin = origin_of(tmp_path, "a")
        now.preparing.left(origin)
        now.preparing.left(origin)
    assert now.asked == ["a"]
    assert now.store.find(now.store.name_of(origin.offer, origin.version)) is not None


async def test_one_is_prepared_at_a_time(tmp_path):
    async with bench(tmp_path) as now:
        now.answers.clear()
        for name in ("a", "bb"):
            now.preparing.left(origin_of(tmp_path, name))
        await until(lambda: now.asked == ["a"])
        now.answers.set()
    assert now.asked == ["a", "bb"]


async def test_who_waits_takes_nobodys_place_and_who_has_left_does(tmp_path):
    first, second = origin_of(tmp_path, "a"), origin_of(tmp_path, "bb")
    async with bench(tmp_path, room=2000) as now:
        now.preparing.waits(first)
    filled = tmp_path / "prepared" / now.store.name_of(first.offer, first.version)
    (filled / GRAPH).write_bytes(bytes(1900))
    with structlog.testing.capture_logs() as said:
        async with bench(tmp_path, room=2000) as now:
            now.preparing.waits(second)
            await until(lambda: said)
            assert said[0]["reason"].endswith("are taken")
            assert now.asked == []
            now.preparing.left(second)
    assert now.asked == ["bb"]
    assert not filled.exists()


async def test_a_small_model_is_left_as_it_is(tmp_path):
    async with bench(tmp_path, least_bytes=LEAST_BYTES) as now:
        now.preparing.left(origin_of(tmp_path, "a"))
    assert now.asked == []


async def test_what_cannot_be_prepared_leaves_nothing_and_is_said_once(tmp_path):
    with structlog.testing.capture_logs() as said:
        async with bench(tmp_path) as now:
            now.says = "it is odd"
            origin = origin_of(tmp_path, "a")
            now.preparing.left(origin)
            now.preparing.left(origin)
    assert [(line["event"], line["reason"]) for line in said] == [("model_not_prepared", "it is odd")]
    assert list((tmp_path / "prepared").iterdir()) == []


async def test_nothing_is_begun_by_a_server_that_is_about_to_end(tmp_path):
    async with bench(tmp_path) as now:
        now.answers.clear()
        for name in ("a", "bb"):
            now.preparing.left(origin_of(tmp_path, name))
        await until(lambda: now.asked == ["a"])
        now.is_over = True
        now.answers.set()
    assert now.asked == ["a"]


# How what was prepared is opened.


@asynccontextmanager
async def serving_prepared(tmp_path: Path) -> AsyncIterator[tuple[Serving, PreparedModels, Origin]]:
    """One model that is in memory, and has been prepared; another can have it leave."""
    store = PreparedModels(tmp_path / "prepared", ROOM)
    shelf = Shelf(tmp_path / "a")
    version = shelf.put(model=wide())
    offer = shelf.offer(version, config=ModelConfig(name="a"))
    into = store.begin(1)
    async with trying() as trials:
        assert await trials.prepare(offer, version, into) == ""
    store.keep(store.name_of(offer, version), into)
    async with serving(tmp_path, 1000, prepared=store) as now:
        await now.offer("a", version)
        yield now, store, Origin(offer, version, made_of(offer, version), {})


def is_mapped(tmp_path: Path) -> bool:
    return str(tmp_path / "prepared") in Path("/proc/self/maps").read_text()


async def asked(now: Serving) -> float:
    return await now.ask("a", width=64)


async def test_what_was_prepared_is_opened_in_place_of_the_file(tmp_path):
    async with serving_prepared(tmp_path) as (now, _, _):
        assert await asked(now) == 0.0
        assert is_mapped(tmp_path)
    assert not is_mapped(tmp_path)


async def test_what_was_prepared_and_cannot_be_opened_is_dropped_for_the_file(tmp_path):
    async with serving_prepared(tmp_path) as (now, store, origin):
        name = store.name_of(origin.offer, origin.version)
        folder = store.find(name).parent
        (folder / GRAPH).write_bytes(b"no model")
        (folder / MADE).unlink()
        seal(folder)
        now.manager.residence.evict(("a", 1))
        assert await asked(now) == 0.0
        assert store.find(name) is None
        assert not is_mapped(tmp_path)


async def test_content_that_was_not_prepared_is_opened_from_its_file(tmp_path):
    async with serving_prepared(tmp_path) as (now, _, _):
        await now.offer("a", Shelf(tmp_path / "a").put(2, model=plus(2, 64)))
        assert await asked(now) == 2.0
        await until(lambda: not is_mapped(tmp_path))  # what it replaced has gone
