"""Handing jobs to a nursery, and what happens when it is lost: real processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.domain.configuration import ModelConfig, Platform
from server.lifecycle.ending import Limits
from server.lifecycle.hearing import Hearing
from server.lifecycle.nursery_handle import NurseryHandle
from server.lifecycle.trial import Job
from tests.lifecycle.family import Family
from tests.lifecycle.shelf import Shelf
from tests.lifecycle.waiting import until

LIMITS = Limits(timeout_s=20, memory_bytes=2**30)


@pytest.fixture
def family() -> Family:
    return Family()


@pytest.fixture
async def handle(family: Family) -> AsyncIterator[NurseryHandle]:
    handle = NurseryHandle(LIMITS, str(Platform.ONNX))
    yield handle
    handle.close()
    assert await asyncio.to_thread(family.left_after, 10) == []


@pytest.fixture
def job(tmp_path: Path) -> Job:
    shelf = Shelf(tmp_path / "m")
    version = shelf.put()
    return Job(shelf.offer(version), version, auto_complete=True)


async def verdict_of(job: Job, answers) -> str:
    return (await Hearing(job.offer, job.version, LIMITS).of(answers)).reason


async def test_who_hears_late_that_a_nursery_is_lost_leaves_its_successor_alone(handle, job):
    answers, lost = await handle.begin(job)
    answers.close()
    lost.kill()
    await asyncio.gather(handle.end(lost), handle.end(lost))
    answers, successor = await handle.begin(job)
    await handle.end(lost)
    assert await verdict_of(job, answers) == ""
    assert successor is not lost
    assert successor.poll() is None


async def test_a_nursery_that_hangs_is_ended_when_it_is_given_up(handle, job):
    answers, silent = await handle.begin(job)
    os.kill(silent.pid, signal.SIGSTOP)
    answers.close()
    await handle.end(silent)
    assert silent.poll() is not None


async def test_who_leaves_in_the_middle_of_handing_over_spoils_no_other_job(handle, job):
    answers, nursery = await handle.begin(job)
    assert await verdict_of(job, answers) == ""
    os.kill(nursery.pid, signal.SIGSTOP)
    try:
        config = ModelConfig(name="m", parameters={"more than": "fits into a socket" * 200_000})
        large = replace(job, offer=replace(job.offer, config=config))
        leaves = asyncio.create_task(handle.begin(large))
        await until(handle._lock.locked)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        follows = asyncio.create_task(handle.begin(job))
        done, _ = await asyncio.wait([follows], timeout=0.2)
        assert not done, "the first one is still being handed over"
    finally:
        os.kill(nursery.pid, signal.SIGCONT)
    answers, same = await follows
    assert same is nursery
    assert await verdict_of(job, answers) == ""


async def test_a_nursery_that_is_started_as_the_server_stops_goes_again(handle, job, family):
    handle.close()
    with pytest.raises(OSError, match="no more trials"):
        await handle.begin(job)
    assert family.members() == []
