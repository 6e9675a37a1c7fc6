"""The life of ensembles: ready while all their members are, over real files and real sessions."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.domain.errors import LoadFailed
from server.domain.state import UNLOADED, State
from tests.lifecycle.life import Life, living, over, over_ensemble
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until

NO_MEMBER = "ensemble '{}' depends on '{}', which has no loaded version"


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    async with living(tmp_path) as life:
        yield life


async def test_an_ensemble_is_ready_once_its_members_are_whatever_the_order(life: Life):
    life.ensemble("an ensemble", over("m", "n"))
    life.model("m")
    life.model("n")
    await life.apply()
    assert life.state("an ensemble") == (State.READY, "")
    facts = life.manager.facts("an ensemble")
    assert (facts.platform, facts.devices) == ("ensemble", ())


async def test_until_a_member_arrives_the_index_says_which_is_missing(life: Life):
    life.ensemble("e", over("m", "n"))
    life.model("m")
    await life.apply()
    assert life.state("e") == (State.UNAVAILABLE, NO_MEMBER.format("e", "n"))
    with pytest.raises(LoadFailed, match="depends on 'n'"):
        await life.manager.settled("e")
    life.model("n")
    await life.apply()
    assert life.state("e") == (State.READY, "")


async def test_a_member_that_cannot_be_loaded_keeps_its_ensembles_away_and_no_other_model(life: Life):
    life.ensemble("e", over("m", "n"))
    life.model("m")
    life.model("n", content=b"this is no model")
    await life.apply()
    assert life.state("e") == (State.UNAVAILABLE, NO_MEMBER.format("e", "n"))
    assert life.state("m") == (State.READY, "")


FALTERING = """
import pathlib

diary = pathlib.Path({diary!r})

def setup(context):
    if not diary.exists():
        diary.touch()
        raise OSError("the share is not mounted yet")

def preprocess(inputs):
    return inputs
"""
"""Its setup fails the first time."""


async def test_a_member_that_is_tried_again_and_comes_up_brings_its_ensembles(life: Life, tmp_path: Path):
    life.model("m", pre_py=FALTERING.format(diary=str(tmp_path / "diary")))
    life.ensemble("e", over("m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    assert life.state("f") == (State.UNAVAILABLE, NO_MEMBER.format("f", "e"))
    await life.manager.settled("m")
    await until(lambda: [life.state(each) for each in "ef"] == [(State.READY, "")] * 2)


async def test_a_member_that_leaves_takes_its_ensembles_along_in_the_same_moment(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    life.manager.apply(dict(life.offers), {"e", "f"})
    await until(lambda: not life.manager.ready_versions("m"))
    assert not life.manager.ready_versions("e")
    assert not life.manager.ready_versions("f")
    await until(lambda: life.state("e")[0] is State.UNAVAILABLE)
    await until(lambda: life.state("m") == (State.UNAVAILABLE, UNLOADED))
    assert life.state("e") == (State.UNAVAILABLE, NO_MEMBER.format("e", "m"))
    await until(lambda: life.state("f") == (State.UNAVAILABLE, NO_MEMBER.format("f", "e")))
    await life.apply()
    assert [life.state(each) for each in "mef"] == [(State.READY, "")] * 3


async def test_a_member_that_leaves_while_its_ensemble_is_loaded_is_missed(life: Life, tmp_path: Path):
    labels = tmp_path / "labels.txt"
    os.mkfifo(labels)  # its reader waits until somebody writes
    life.model("m")
    life.ensemble("e", over("m").replace('name: "Y"', 'name: "Y" label_filename: "labels.txt"'))
    life.offers["e"] = replace(life.offers["e"], labels={"labels.txt": labels})
    life.manager.apply(dict(life.offers), {"m", "e"})
    await until(lambda: life.state("e")[0] is State.LOADING)
    life.manager.apply(dict(life.offers), {"e"})
    await until(lambda: not life.manager.ready_versions("m"))
    served = []
    life.manager.table.watch(lambda _: served.extend(life.manager.ready_versions("e")))
    await asyncio.to_thread(labels.write_text, "left\nright\n")
    await until(lambda: life.state("e") == (State.UNAVAILABLE, NO_MEMBER.format("e", "m")))
    assert served == []


async def test_a_member_whose_folder_goes_is_missed_too(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    del life.offers["m"]
    await life.apply()
    await until(lambda: life.state("e") == (State.UNAVAILABLE, NO_MEMBER.format("e", "m")))


async def test_a_version_that_is_named_is_waited_for(life: Life):
    life.model("m", 1)
    life.ensemble("e", over("m").replace("model_version: -1", "model_version: 2"))
    await life.apply()
    reason = "ensemble 'e' depends on 'm', whose required version 2 is not loaded"
    assert life.state("e") == (State.UNAVAILABLE, reason)
    life.model("m", 1, 2)
    await life.apply()
    assert life.state("e") == (State.READY, "")


async def test_a_member_that_is_replaced_leaves_its_ensembles_as_they_are(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    before = life.manager.table.find("e", "")
    life.model("m", content=plus(5))
    await life.apply()
    assert life.manager.table.find("e", "") is before
    assert life.state("e") == (State.READY, "")


async def test_a_member_that_fits_no_more_stops_its_ensembles_and_says_why(life: Life):
    life.model("m")
    life.model("n")
    life.ensemble("e", over("m", "n"))
    await life.apply()
    life.model("n", content=plus(1, width=3))
    await life.apply()
    await until(lambda: life.state("e")[0] is State.UNAVAILABLE)
    assert "in ensemble 'e', ensemble tensor 't1': inconsistent shape" in life.state("e")[1]
    life.model("n", content=plus(7))
    await life.apply()
    assert life.state("e") == (State.READY, "")


async def test_a_bad_edit_of_an_ensemble_does_not_stop_what_serves(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    life.ensemble("e", over("m", "nowhere"))
    await life.apply()
    state, reason = life.state("e")
    assert state is State.READY
    assert reason == f"serving what it was before: {NO_MEMBER.format('e', 'nowhere')}"
    assert len(life.manager.facts("e").config.ensemble.steps) == 1


async def test_an_ensemble_whose_configuration_cannot_be_read_any_more_still_goes_with_its_members(
    life: Life,
):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    life.offers["e"] = replace(life.offers["e"], config=None, versions={}, problem="line 3 is no field")
    await life.apply()
    assert life.state("e") == (State.READY, "serving what it was before: line 3 is no field")
    await life.apply("m")
    assert not life.manager.ready_versions("e")


async def test_a_good_edit_of_an_ensemble_takes_its_place(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    life.ensemble("e", over("m", "m"))
    await life.apply()
    assert life.state("e") == (State.READY, "")
    assert len(life.manager.facts("e").config.ensemble.steps) == 2


async def test_ensembles_made_of_each_other_are_refused_and_recover(life: Life):
    life.model("m")
    for name, member in zip("efg", "fge", strict=True):
        life.ensemble(name, over_ensemble(member))
    await life.apply()
    assert life.state("e")[1] == "circular dependency between ensembles: e -> f -> g -> e"
    assert life.state("g")[1] == "circular dependency between ensembles: g -> e -> f -> g"
    life.ensemble("g", over("nowhere"))
    life.manager.apply(dict(life.offers), life.offers.keys())
    reasons = [NO_MEMBER.format(*pair) for pair in (("e", "f"), ("f", "g"), ("g", "nowhere"))]
    await until(lambda: [life.state(each)[1] for each in "efg"] == reasons)
    life.ensemble("g", over("m"))
    await life.apply()
    await until(lambda: [life.state(each)[0] for each in "efg"] == [State.READY] * 3)


async def test_what_an_ensemble_is_asked_for_while_a_member_is_replaced_again_and_again_is_there(life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    missed = 0
    over_ = asyncio.Event()

    async def ask() -> None:
        nonlocal missed
        while not over_.is_set():
            missed += not (life.manager.ready_versions("e") and life.manager.ready_versions("f"))
            await asyncio.sleep(0)

    asking = asyncio.create_task(ask())
    for amount in range(20):
        life.model("m", content=plus(amount + 2))
        await life.apply()
    over_.set()
    await asking
    assert missed == 0


async def test_a_server_is_ready_without_the_ensembles_of_what_was_unloaded_on_purpose(life: Life):
    for name in "mn":
        life.model(name)
    life.ensemble("e", over("m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    assert life.manager.ready(strict=True)
    await life.apply("m")
    assert not life.manager.ready_versions("f")
    assert life.manager.ready(strict=True)


async def test_a_server_whose_ensemble_lacks_a_member_from_the_start_is_not_ready(life: Life):
    life.model("m")
    life.ensemble("e", over("m", "nowhere"))
    await life.apply()
    assert not life.manager.ready(strict=True)
    assert life.manager.ready(strict=False)
