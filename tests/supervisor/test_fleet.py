"""The supervisor with real processes that do harm: stand-ins for servers, which start faster."""

import os
import signal

import pytest

from server.supervisor.fleet import Rollout
from server.supervisor.keeper import Refused
from server.supervisor.plan import Role, Seat

TIERS = {Role.PREDICT: 1, Role.POST: 1, Role.PRE: 1, Role.GATEWAY: 2}


def place(roles: list[str], *of: str) -> list[int]:
    return [at for at, role in enumerate(roles) if role in of]


async def test_who_asks_comes_after_whom_it_asks_and_goes_before(stage):
    stage.harm("gateway", "slow")
    stage.harm("pre", "slow")
    async with stage.fleet(TIERS) as played:
        await stage.until(lambda: played.fleet.complete)
        began = [each["role"] for each in stage.events("began")]
        assert await played.stop() is True
    assert max(place(began, "predict", "post")) < min(place(began, "pre"))
    assert max(place(began, "pre")) < min(place(began, "gateway"))
    ends = [(each["event"], each["role"]) for each in stage.events("told", "left")]
    assert ends == [
        *[("told", "gateway")] * 2,
        *[("left", "gateway")] * 2,
        ("told", "pre"),
        ("left", "pre"),
        ("told", "predict"),
        ("left", "predict"),
        ("told", "post"),
        ("left", "post"),
    ]


async def test_a_process_that_is_killed_is_started_again_and_the_others_are_left_alone(stage):
    async with stage.fleet({Role.ALL: 2}) as played:
        await stage.until(lambda: played.fleet.complete)
        first, second = (played.fleet.keepers[Seat(Role.ALL, number)] for number in (0, 1))
        killed, kept = first.child.pid, second.child.pid
        os.kill(killed, signal.SIGKILL)
        await stage.until(lambda: first.child.pid != killed and first.ready)
        assert (first.failures.ever, second.failures.ever, second.child.pid) == (1, 0, kept)
        assert await played.stop() is True


async def test_one_that_crashes_again_and_again_is_tried_again_and_holds_up_nobody(stage):
    stage.harm("predict", "crash")
    async with stage.fleet({Role.PREDICT: 1, Role.GATEWAY: 1}) as played:
        await stage.until(lambda: played.fleet.keepers[Seat(Role.GATEWAY, 0)].ready)
        await stage.until(lambda: played.fleet.keepers[Seat(Role.PREDICT, 0)].failures.in_a_row >= 3)
        assert not played.fleet.ready
        stage.harm("predict", "")
        await stage.until(lambda: played.fleet.complete)


async def test_one_that_refuses_to_start_stops_everything_with_its_own_sentence(stage):
    stage.harm("gateway", "refuse")
    async with stage.fleet({Role.PREDICT: 1, Role.GATEWAY: 1}) as played:
        with pytest.raises(ExceptionGroup) as caught:
            await played.running
    (refused,) = caught.value.exceptions
    assert isinstance(refused, Refused)
    assert (str(refused), refused.code) == ("gateway.0: the stand-in will not", 2)
    assert [each["role"] for each in stage.events("left")] == ["predict"]


async def test_one_that_refuses_after_it_once_served_is_tried_again(stage):
    async with stage.fleet({Role.ALL: 1}) as played:
        await stage.until(lambda: played.fleet.complete)
        keeper = played.fleet.keepers[Seat(Role.ALL, 0)]
        stage.harm("all", "refuse")
        os.kill(keeper.child.pid, signal.SIGKILL)
        await stage.until(lambda: keeper.failures.in_a_row >= 2)
        stage.harm("all", "")
        await stage.until(lambda: played.fleet.complete)


async def test_one_that_does_not_go_is_killed_and_the_exit_says_so(stage):
    stage.harm("all", "deaf")
    async with stage.fleet({Role.ALL: 1}, leave_s=0.3) as played:
        await stage.until(lambda: played.fleet.complete)
        pid = played.fleet.keepers[Seat(Role.ALL, 0)].child.pid
        assert await played.stop() is False
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_rolling_restart_brings_each_new_one_before_its_old_one_goes(stage):
    async with stage.fleet({Role.PREDICT: 1, Role.GATEWAY: 2}) as played:
        await stage.until(lambda: played.fleet.complete)
        before = {seat: keeper.child.pid for seat, keeper in played.fleet.keepers.items()}
        played.fleet.roll()
        await stage.until(lambda: played.fleet.rolling.state is Rollout.DONE)
        after = {seat: keeper.child.pid for seat, keeper in played.fleet.keepers.items()}
        assert played.fleet.ready
    assert set(before.values()) & set(after.values()) == set()
    told = [(each["event"], each["pid"]) for each in stage.events("serves", "told")]
    for seat in before:
        assert told.index(("serves", after[seat])) < told.index(("told", before[seat]))
    for first, second in zip(list(before)[:-1], list(before)[1:], strict=True):
        assert told.index(("told", before[first])) < told.index(("serves", after[second])), "one at a time"


async def test_without_surge_the_old_one_goes_first(stage):
    async with stage.fleet({Role.ALL: 1}, surge=False) as played:
        await stage.until(lambda: played.fleet.complete)
        played.fleet.roll()
        await stage.until(lambda: played.fleet.rolling.state is Rollout.DONE)
        assert played.fleet.keepers[Seat(Role.ALL, 0)].failures.ever == 0
    assert [each["event"] for each in stage.events("serves", "left")] == ["serves", "left"] * 2


async def test_a_rolling_restart_stops_at_the_first_new_one_that_is_no_good(stage):
    async with stage.fleet({Role.PREDICT: 1, Role.GATEWAY: 1}, replace_s=5) as played:
        await stage.until(lambda: played.fleet.complete)
        old = [keeper.child.pid for keeper in played.fleet.keepers.values()]
        stage.harm("predict", "refuse")
        played.fleet.roll()
        await stage.until(lambda: played.fleet.rolling.state is Rollout.FAILED)
        assert played.fleet.rolling.reason == (
            "the new process of predict.0 ended with exit code 2 (the stand-in will not): the old one stays"
        )
        assert played.fleet.ready
        assert [keeper.child.pid for keeper in played.fleet.keepers.values()] == old
        stage.harm("predict", "")
        played.fleet.roll()
        await stage.until(lambda: played.fleet.rolling.state is Rollout.DONE)


async def test_a_fleet_that_is_told_to_go_in_the_midst_of_a_start_or_a_rolling_restart_leaves_nobody(stage):
    async with stage.fleet({Role.ALL: 2}) as played:
        await stage.until(lambda: stage.events("began"))
        assert await played.stop() is True
    async with stage.fleet({Role.ALL: 2}) as played:
        await stage.until(lambda: played.fleet.complete)
        played.fleet.roll()
        await stage.until(lambda: len(stage.events("began")) >= 5)
        await played.stop()
    for pid in {each["pid"] for each in stage.events("began")}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_every_line_says_whose_it_is(stage):
    async with stage.fleet({Role.ALL: 2}) as played:
        await stage.until(lambda: played.fleet.complete)
    assert {"all.0 | said to people", "all.1 | said to people"} <= set(stage.out.getvalue().splitlines())
    assert '{"role":"all","process":1,"event":"said to programs"}' in stage.err.getvalue().splitlines()
