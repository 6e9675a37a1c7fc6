"""Large tensors between two processes of one host: laid once into memory that the other side reads."""

import asyncio
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from protos import stage_pb2 as pb
from server.domain.configuration import ModelConfig
from server.domain.request import InferRequest
from server.domain.shared import Slab
from server.stages.hop.arena import Arena, Theirs, columns_of
from server.wire.bundle import Reader, lay, pack, read
from server.wire.heading import Broken, Headings
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.tier import tier

LARGE = 1 << 20
"""Numbers of four bytes."""


async def test_a_tensor_of_4_mb_crosses_beside_the_wire_both_ways_and_its_place_is_given_back(tmp_path, pool):
    shelf = Shelf(tmp_path / "m")
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=8)
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            room = link._open._arena._slab.free
            for _ in range(40):
                answers = await asyncio.gather(
                    *(here.ask(x=np.full((1, LARGE), n, np.float32)) for n in range(4))
                )
                for n, answer in enumerate(answers):
                    assert (answer.outputs["y"] == n + 1).all()
                    assert not answer.outputs["y"].flags.owndata, (
                        "it is read where the other side has laid it"
                    )
                del answers, answer
            assert link._open._arena.laid == 40 * 4 * LARGE * 4
            gc.collect()
            await until(
                lambda: link._open._arena._slab.free == room or not link._open._arena._slab._released.empty()
            )
            small = await here.ask(x=np.ones((1, 2), np.float32))
            assert small.outputs["y"].tolist() == [[2, 2]]


@pytest.mark.parametrize("shared_bytes", [0, 1 << 20], ids=["no memory to share", "too little of it"])
async def test_without_room_to_share_tensors_go_on_the_wire(tmp_path, pool, shared_bytes):
    shelf = Shelf(tmp_path / "m")
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=ModelConfig(name="m")))
        async with there(at.manager.table, pool) as other, linked(other, shared_bytes=shared_bytes) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            answer = await here.ask(x=np.full((1, LARGE), 3, np.float32))
            assert (answer.outputs["y"] == 4).all()


def test_what_is_laid_is_read_by_the_other_side():
    arena = Arena(1 << 22)
    theirs = Theirs.open(arena.offer())
    assert theirs is not None
    arena.is_read = True
    head = pb.Head(ids=[1, 2], rows=[1, 2])
    parts = [
        {"large": np.full((rows, 50_000), rows, np.float32), "small": np.ones((rows, 1))} for rows in (1, 2)
    ]
    left, places = arena.lay(head, lay(parts))
    message = pack(head, Headings(pb.Head()).of(parts[0], stacked=False), left)
    assert len(message) < 1000
    heading, said, columns = Reader().unpack(message)
    freed: list[int] = []
    batch = read(heading, said, columns_of(said, columns, theirs, freed.append))
    for part, again in zip(parts, batch.cut(), strict=True):
        assert {name: array.tolist() for name, array in again.items()} == {
            name: array.tolist() for name, array in part.items()
        }
    assert freed == []
    del batch, again
    assert freed == [places[0].start]
    arena.close()


def test_memory_that_is_not_what_it_says_is_not_opened(tmp_path):
    arena = Arena(1 << 20)
    good = arena.offer()
    wrong = pb.Arena()
    wrong.CopyFrom(good)
    wrong.token = bytes(16)
    assert Theirs.open(wrong) is None
    wrong.CopyFrom(good)
    wrong.size *= 2
    assert Theirs.open(wrong) is None
    wrong.CopyFrom(good)
    wrong.pid = 2**22 + 1
    assert Theirs.open(wrong) is None
    (tmp_path / "memfd:tercet").write_bytes(bytes(100))
    with (tmp_path / "memfd:tercet").open("rb") as file:
        assert Theirs.open(pb.Arena(pid=os.getpid(), fd=file.fileno(), size=100, token=bytes(16))) is None
    arena.close()


def test_a_place_beyond_the_memory_is_refused():
    slab = Slab(1 << 16)
    theirs = Theirs(slab.descriptor)
    with pytest.raises(Broken, match="beyond"):
        theirs.column((1 << 16) - 10, 11, None)
    head = pb.Head(regions=[pb.Region(at=0, start=0, size=4)])
    with pytest.raises(Broken, match="not shared"):
        columns_of(head, [], None)
    with pytest.raises(Broken, match="fewer columns"):
        columns_of(pb.Head(regions=[pb.Region(at=1, start=0, size=4)]), [], theirs)
    slab.close()


def test_nothing_of_it_has_a_name():
    before = set(Path("/dev/shm").iterdir())
    arena = Arena(1 << 20)
    assert set(Path("/dev/shm").iterdir()) == before
    arena.close()


async def test_what_code_keeps_of_a_request_stays_what_it_was(tmp_path, pool):
    keeping = """
kept = []

def preprocess(inputs):
    kept.append(inputs["x"])
    return {"x": kept[0][:, :2]}
"""
    shelf = Shelf(tmp_path / "m")
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=keeping)))
        table = at.manager.table
        async with (
            there(table, pool, "predict") as predict,
            linked(predict) as to_predict,
            there(table, pool, "pre", Known(to_predict)) as pre,
            linked(pre) as to_pre,
        ):
            here = Here(table, pool, Known(to_pre), ("pre", "predict"))
            ask = InferRequest
            for n in range(5):
                x = np.full((1, 1 << 15), n, np.float32)
                answer = await here.ask(ask("m", "", {"x": x}, rows=1))
                assert answer.outputs["y"].tolist() == [[1, 1]], "the first that came, and one more"


async def test_what_is_given_up_before_it_is_written_leaves_no_place_taken(tmp_path, pool):
    shelf = Shelf(tmp_path / "m")
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=8)
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            for _ in range(40):
                asking = [asyncio.create_task(here.ask(x=np.ones((1, LARGE), np.float32))) for _ in range(4)]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                for each in asking:
                    each.cancel()
                await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: link.requests == 0)
            await here.ask(x=np.ones((1, 2), np.float32))
            await until(lambda: len(link._open._places) == 0)
