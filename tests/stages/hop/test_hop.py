"""Requests through another tier: real gRPC on loopback, real models, real code."""

import asyncio
from time import monotonic

import numpy as np
import pytest
from onnx import helper

from server.domain.configuration import ModelConfig
from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ServerStopping,
    StageFailed,
    TierFailed,
    TierUnavailable,
)
from server.domain.request import InferRequest
from server.scheduling.ticket import Ticket
from server.stages.hop import stream
from tests.e2e.workshop import FLOAT, INT64, slow, value, written
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.test_route import LENGTHS, SUMS, row, texts
from tests.stages.tier import tier

BATCHING = ModelConfig(name="m", max_batch_size=32)


def third_of(places: int) -> bytes:
    """y = one of three numbers, at the place that is asked for; a run with another place fails."""
    return written(
        [helper.make_node("Gather", ["three", "at"], ["y"])],
        [value("at", INT64, "n", places)],
        [value("y", FLOAT, "n", places)],
        three=np.array([10, 20, 30], np.float32),
    )


async def test_each_of_many_requests_gets_its_own_answer_and_they_share_parcels(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            numbers = range(500)
            answers = await asyncio.gather(
                *(here.ask(x=np.full((n % 3 + 1, 2), n, np.float32)) for n in numbers)
            )
            for n, answer in zip(numbers, answers, strict=True):
                assert answer.outputs["y"].tolist() == [[n + 1, n + 1]] * (n % 3 + 1)
            assert link.requests == link.rows == link.bytes == 0
            assert here.tally.success.count == 0, "no request said when it arrived"
            assert here.tally.inference_count == sum(n % 3 + 1 for n in numbers)
            assert at.tally.success.count == at.tally.queue.count == 500
            assert at.tally.execution_count < 100


@pytest.mark.parametrize("config", [BATCHING, ModelConfig(name="m")], ids=["batching", "without rows"])
async def test_requests_of_different_shapes_go_side_by_side(shelf, pool, config):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            asked = [np.full((1, n % 7 + 1), n, np.float32) for n in range(100)]
            answers = await asyncio.gather(*(here.ask(x=each) for each in asked))
            for each, answer in zip(asked, answers, strict=True):
                assert (answer.outputs["y"] == each + 1).all()
                assert answer.outputs["y"].shape == each.shape


async def test_one_poisonous_request_of_a_parcel_fails_alone(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=third_of(1)), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            places = [0, 1, 2, 7, 0, 1, 2]
            answers = await asyncio.gather(
                *(here.ask(at=np.array([[place]])) for place in places), return_exceptions=True
            )
            assert isinstance(answers[3], InferenceFailed)
            assert "model 'm' version 1 failed" in str(answers[3])
            good = [answer.outputs["y"].item() for answer in answers if answer is not answers[3]]
            assert good == [10, 20, 30, 10, 20, 30]


async def test_the_stages_of_three_tiers_answer_as_one_process_does(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(pre_py=LENGTHS, post_py=SUMS)))
        fused = await at.ask(text=texts(b"a", b"four"))
        table = at.manager.table
        async with (
            there(table, pool, "post") as post,
            linked(post) as to_post,
            there(table, pool, "predict", Known(to_post)) as predict,
            linked(predict) as to_predict,
            there(table, pool, "pre", Known(to_predict)) as pre,
            linked(pre) as to_pre,
        ):
            here = Here(table, pool, Known(to_pre), ("pre", "predict", "post"))
            tiers = await here.ask(text=texts(b"a", b"four"))
            assert list(tiers.outputs) == list(fused.outputs)
            for name, array in fused.outputs.items():
                assert array.tolist() == tiers.outputs[name].tolist()
            with pytest.raises(InvalidRequest, match="text must not be empty"):
                await here.ask(text=texts(b""))
            with pytest.raises(InvalidRequest, match="six is not for sale"):
                await here.ask(text=texts(b"sixxx"))
            with pytest.raises(StageFailed, match="the pre stage"):
                await here.ask(text=texts(b"boo"))
            with pytest.raises(StageFailed, match="the post stage"):
                await here.ask(text=texts(b"eightxx"))


async def test_a_deadline_holds_wherever_the_request_is_and_takes_its_work_along(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            batcher = at.manager.table.find("m", "").batcher
            blocking = []
            for instance in (1, 2):
                blocking.append(asyncio.create_task(here.ask(rounds=np.array([[5000]]))))
                await until(lambda: batcher.under_way == instance)  # noqa: B023
            began = monotonic()
            late = InferRequest("m", "", {"rounds": np.array([[1]])}, deadline=began + 0.02)
            with pytest.raises(DeadlineExceeded):
                await here.ask(late)
            assert monotonic() - began < 1
            await asyncio.gather(*blocking)
            await until(lambda: link.requests == 0)
            assert at.tally.execution_count == 2


async def test_who_leaves_takes_the_queued_work_along(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            deadline = monotonic() + 60
            asking = [
                asyncio.create_task(
                    here.ask(InferRequest("m", "", {"rounds": np.array([[1000]])}, deadline=deadline))
                )
                for _ in range(20)
            ]
            await until(lambda: at.tally.pending > 5)
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await until(lambda: at.tally.pending == 0 and link.requests == 0)
            assert at.tally.execution_count < 20


async def test_a_tier_that_dies_fails_what_it_had_and_serves_again_when_it_is_back(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put()))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            await here.ask(x=row(1, 1))
            asking = [asyncio.create_task(here.ask(x=row(n, n))) for n in range(50)]
            await other.die()
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            for n, outcome in enumerate(outcomes):
                if isinstance(outcome, TierUnavailable):
                    assert "the predict tier cannot answer for model 'm'" in str(outcome)
                else:
                    assert outcome.outputs["y"].tolist() == [[n + 1, n + 1]]
            await until(lambda: not link.up)
            with pytest.raises(TierUnavailable, match="no endpoint that is ready"):
                await here.ask(x=row(1, 1))
            await other.start()
            began = monotonic()
            await until(lambda: link.up)
            assert monotonic() - began < 2
            assert (await here.ask(x=row(1, 1))).outputs["y"].tolist() == [[2, 2]]


async def test_a_tier_that_leaves_loses_no_request(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        table = at.manager.table
        async with (
            there(table, pool) as one,
            linked(one) as to_one,
            there(table, pool) as two,
            linked(two) as to_two,
        ):
            here = Here(table, pool, Known(to_one, to_two), ("predict",))
            leaving: asyncio.Task[None] | None = None
            for n in range(200):
                if n == 50:
                    leaving = asyncio.create_task(one.leave())
                answers = await asyncio.gather(*(here.ask(x=row(n, m)) for m in range(8)))
                assert [each.outputs["y"].tolist() for each in answers] == [
                    [[n + 1, m + 1]] for m in range(8)
                ]
            assert leaving is not None
            await leaving
            assert not to_one.up
            assert to_two.up


async def test_work_goes_where_the_least_of_it_lies(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        table = at.manager.table
        async with (
            there(table, pool) as one,
            linked(one) as to_one,
            there(table, pool) as two,
            linked(two) as to_two,
        ):
            to_one._open.rows += 1000  # somebody else's
            here = Here(table, pool, Known(to_one, to_two), ("predict",))
            await asyncio.gather(*(here.ask(x=row(n, n)) for n in range(100)))
            assert to_one.parcels == 0
            assert to_two.parcels > 0


async def test_a_request_that_cannot_have_begun_is_asked_again_elsewhere(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        table = at.manager.table
        async with (
            there(table, pool) as one,
            linked(one) as to_one,
            there(table, pool) as two,
            linked(two) as to_two,
        ):
            one.station.move_to(one.station.phase.STOPPING)  # it refuses, and does not say that it leaves
            here = Here(table, pool, Known(to_one, to_two), ("predict",))
            to_two._open.rows += 10  # so that the other one is asked first
            answer = await here.ask(x=row(1, 1))
            assert answer.outputs["y"].tolist() == [[2, 2]]
            assert to_one.parcels > 0


async def test_other_files_of_the_same_version_are_not_asked(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            await at.serve(shelf.offer(shelf.put(1, plus(5)), config=BATCHING))
            await until(lambda: at.manager.table.find("m", "").content != here.served.content)
            with pytest.raises(Exception, match="has other files in this predict tier"):
                await here.ask(x=row(1, 1))


async def test_what_waits_is_bounded_and_a_closed_way_takes_nothing(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other, max_requests=4) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            await asyncio.gather(*(here.ask(x=row(n, n)) for n in range(100)))
            await here.served.retire(1)
            with pytest.raises(ServerStopping):
                await here.ask(x=row(1, 1))


async def test_those_of_one_turn_leave_together_in_the_next_and_none_is_told_of_as_it_comes(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            sender = Here(at.manager.table, pool, Known(link), ("predict",)).served.batcher
            told: list[Ticket] = []
            for _ in range(2):
                sender.submit(Ticket({"x": row(1, 1)}, 1, told.append))
            assert link.rows == 0
            await asyncio.sleep(0)
            assert (link.rows, sender.waiting) == (2, 0)
            await until(lambda: len(told) == 2)
            assert told[0].run is told[1].run
            sender.submit(Ticket({"x": row(1, 1)}, 1, told.append, client="\ud800"))
            await asyncio.sleep(0)
            assert link.rows == 0, "it cannot be written"
            assert len(told) == 2
            await until(lambda: len(told) == 3)
            link.up = False
            sender.submit(Ticket({"x": row(1, 1)}, 1, told.append))
            assert len(told) == 3, "there is nobody to ask"
            await until(lambda: len(told) == 4)
    assert [type(ticket.error) for ticket in told[2:]] == [TierFailed, TierUnavailable]


async def test_what_the_wire_cannot_say_harms_neither_the_request_nor_those_beside_it(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            odd = [
                InferRequest("m", "", {"x": row(1, 1)}, priority=2**40),
                InferRequest("m", "", {"x": row(1, 1)}, deadline=monotonic() + 1e18),
                InferRequest("m", "", {"x": row(1, 1)}),
            ]
            for answer in await asyncio.gather(*(here.ask(each) for each in odd)):
                assert answer.outputs["y"].tolist() == [[2, 2]]


async def test_a_parcel_that_cannot_be_made_fails_its_own_requests_and_no_others(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            unwritable = InferRequest("m", "", {"x": row(1, 1)}, client="\ud800")
            with pytest.raises(TierFailed, match="could not be written"):
                await here.ask(unwritable)
            assert (await here.ask(x=row(1, 1))).outputs["y"].tolist() == [[2, 2]]


async def test_what_a_leaving_tier_has_begun_is_answered_however_long_it_takes(shelf, pool, monkeypatch):
    monkeypatch.setattr(stream, "PING_S", 0.02)
    monkeypatch.setattr(stream, "SILENT_S", 0.5)
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        table = at.manager.table
        async with there(table, pool) as one, linked(one) as link:
            here = Here(table, pool, Known(link), ("predict",))
            asking = asyncio.create_task(here.ask(rounds=np.array([[8000]])))
            await until(lambda: table.find("m", "").batcher.under_way == 1)
            leaving = asyncio.create_task(one.leave())
            assert (await asking).outputs["y"].tolist() == [[8000]]
            await leaving


async def test_while_one_process_leaves_the_next_one_at_its_address_is_asked(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m", max_batch_size=4)))
        table = at.manager.table
        async with there(table, pool) as one, linked(one) as link:
            here = Here(table, pool, Known(link), ("predict",))
            asking = asyncio.create_task(here.ask(rounds=np.array([[5000]])))
            await until(lambda: table.find("m", "").batcher.under_way == 1)
            leaving = asyncio.create_task(one.leave())
            await until(lambda: not link.up)
            async with there(table, pool, port=one.port):
                await until(lambda: link.up)
                assert not asking.done()
                assert (await here.ask(rounds=np.array([[1]]))).outputs["y"].tolist() == [[1]]
                assert (await asking).outputs["y"].tolist() == [[5000]]
            await leaving


async def test_an_answer_that_is_kept_stays_what_it_was_over_a_new_stream(tmp_path, pool):
    shelf = Shelf(tmp_path / "m")
    async with tier() as at:
        config = ModelConfig(name="m", max_batch_size=8)
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            old = await here.ask(x=np.full((1, 1 << 17), 1, np.float32))
            await other.die()
            await until(lambda: not link.up)
            await other.start()
            await until(lambda: link.up)
            kept = await here.ask(x=np.full((1, 1 << 17), 100, np.float32))
            del old  # its place was in the memory of the stream before
            for n in range(20):
                other_answer = await here.ask(x=np.full((1, 1 << 17), 700 + n, np.float32))
                assert (other_answer.outputs["y"] == 701 + n).all()
                del other_answer
            assert (kept.outputs["y"] == 101).all()


async def test_a_request_that_had_begun_when_its_tier_gave_it_up_is_not_asked_again(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow())))
        table = at.manager.table
        async with (
            there(table, pool) as one,
            linked(one) as to_one,
            there(table, pool) as two,
            linked(two) as to_two,
        ):
            here = Here(table, pool, Known(to_one, to_two), ("predict",))
            to_two._open.rows += 10
            asking = asyncio.create_task(here.ask(rounds=np.array([[5000]])))
            served = table.find("m", "")
            await until(lambda: served.batcher.under_way == 1)
            await served.batcher.close(0)
            with pytest.raises(TierUnavailable, match="it is stopping"):
                await asking
            assert to_two.parcels == 0


async def test_a_short_deadline_is_told_that_there_is_no_endpoint_and_not_that_it_is_over(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        here = Here(at.manager.table, pool, Known(), ("predict",), patience_s=5)
        with pytest.raises(TierUnavailable, match="no endpoint that is ready"):
            await here.ask(InferRequest("m", "", {"x": row(1, 1)}, deadline=monotonic() + 0.4))
