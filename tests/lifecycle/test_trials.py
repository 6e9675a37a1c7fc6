"""Trials in processes of their own, over real files: what is found, and what is left when one goes wrong."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import structlog

from server.domain.backoff import BackOff
from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.padding import Padding
from server.domain.state import UNLOADED, VERIFYING, State
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.lifecycle.ending import Limits
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.trials import Trials
from server.lifecycle.verdict import Verdict
from server.lifecycle.verdicts import Verdicts
from tests.e2e.workshop import attentive
from tests.lifecycle.family import Family
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until
from tests.server_process import ROOT

LIMITS = Limits(timeout_s=20, memory_bytes=2**30)
EXAMPLE = {
    "request": {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]},
    "response": {"outputs": [{"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [2, 3]}]},
}
STUCK = """
import pathlib, time
def setup(context):
    pathlib.Path(context.parameters["began"]).touch()
    time.sleep(600)
def preprocess(inputs): return inputs
"""
"""Notes that its setup began, and never ends."""


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


@asynccontextmanager
async def trying(verdicts: Verdicts | None = None, at_once: int = 2) -> AsyncIterator[Trials]:
    trials = Trials(verdicts or Verdicts(), limits=LIMITS, at_once=at_once)
    try:
        yield trials
    finally:
        trials.close()


@asynccontextmanager
async def managing(
    verdicts: Verdicts | None = None, *, retries: int = 0, back_off: BackOff | None = None
) -> AsyncIterator[Manager]:
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(verdicts or Verdicts(), limits=LIMITS, at_once=2)
    async with Manager(
        loader, load_threads=2, retire_within_s=5, retries=retries, back_off=back_off, trials=trials
    ) as manager:
        yield manager


class SlowDisk(Verdicts):
    """What is kept lies on a disk that does not answer before the test says so."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.asked, self.answers = threading.Event(), threading.Event()
        self._slow = slow

    def of(self, key: str) -> Verdict | None:
        self._wait("of")
        return super().of(key)

    def put(self, key: str, verdict: Verdict) -> None:
        self._wait("put")
        super().put(key, verdict)

    def _wait(self, what: str) -> None:
        if what == self._slow:
            self.asked.set()
            self.answers.wait(20)


def nurseries() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_nursery(child)]


def is_nursery(process: psutil.Process) -> bool:
    try:
        return "server.lifecycle.nursery" in process.cmdline()
    except psutil.NoSuchProcess:  # it has ended, or is a zombie by now
        return False


@pytest.fixture(autouse=True)
def family() -> Iterator[Family]:
    family = Family()
    yield family
    assert family.left_after(10) == []


def with_example(shelf: Shelf, version: VersionOffer, example: object = EXAMPLE) -> VersionOffer:
    path = version.directory / "good.json"
    path.write_text(json.dumps(example))
    return replace(version, examples=(path,))


async def test_a_good_version_is_known_with_its_sizes_and_times(shelf):
    async with trying() as trials:
        version = with_example(shelf, shelf.put())
        verdict = await trials.verdict(shelf.offer(version), version)
    assert (verdict.reason, verdict.doubts) == ("", ())
    assert verdict.checked == (
        "loading",
        "golden example 'good'",
        "runs of up to 4 rows",
        "a batch of 4 rows against its rows",
    )
    assert list(verdict.run_seconds) == [1, 2, 4]
    assert all(0 < seconds < 1 for seconds in verdict.run_seconds.values())
    assert 0 < verdict.loaded_bytes <= verdict.peak_bytes < 2**28
    assert verdict.load_seconds > 0
    assert verdict.described["inputs"] == [{"name": "x", "datatype": "FP32", "dims": [2], "reshape": None}]


async def test_a_model_without_an_example_is_run_on_made_up_input(shelf):
    async with trying() as trials:
        version = shelf.put(model=plus(1, width="any"))
        verdict = await trials.verdict(shelf.offer(version), version)
    assert verdict.checked[1:] == ("runs of up to 4 rows", "a batch of 4 rows against its rows")


async def test_a_padded_model_is_warmed_up_in_its_trial_with_what_its_clients_bring(shelf):
    ids = WarmupInput(name="ids", datatype="INT64", dims=(3,), data=WarmupData.ZERO)
    words = Warmup(name="three words", batch_size=2, count=1, inputs=(ids,))
    padding = Padding(buckets=(4, 8), mask_input="mask")
    config = ModelConfig(name="m", max_batch_size=4, padding=padding, warmups=(words,))
    async with trying() as trials:
        version = shelf.put(model=attentive())
        verdict = await trials.verdict(shelf.offer(version, config=config), version)
    assert verdict.reason == ""
    assert "runs of up to 4 rows" in verdict.checked


async def test_rows_that_nobody_joins_are_not_probed(shelf):
    config = ModelConfig(name="m", max_batch_size=4)
    async with trying() as trials:
        version = shelf.put()
        verdict = await trials.verdict(shelf.offer(version, config=config), version)
    assert verdict.checked == ("loading", "runs of up to 4 rows")


async def test_what_is_known_is_not_tried_again(shelf, tmp_path):
    version = shelf.put()
    broken = shelf.put(2, model=b"no model")
    async with trying(Verdicts(tmp_path / "state")) as trials:
        first = await trials.verdict(shelf.offer(version), version)
        bad = await trials.verdict(shelf.offer(broken), broken)
    await until(lambda: not nurseries())
    async with trying(Verdicts(tmp_path / "state")) as trials:
        assert await trials.verdict(shelf.offer(version), version) == first
        assert await trials.verdict(shelf.offer(broken), broken) == bad
        assert "model.onnx cannot be loaded" in bad.reason
        assert await trials.known(shelf.offer(version), version) == first
        assert nurseries() == []
        changed = shelf.put(model=plus(5))
        assert (await trials.verdict(shelf.offer(changed), changed)).good
        assert len(nurseries()) == 1


async def test_code_that_failed_is_tried_again_as_its_fault_may_lie_elsewhere(shelf, tmp_path):
    code = "import pathlib, sys\nassert pathlib.Path({!r}).exists()\ndef preprocess(inputs): return inputs"
    version = shelf.put(pre_py=code.format(str(tmp_path / "mounted")))
    async with trying() as trials:
        assert "AssertionError" in (await trials.verdict(shelf.offer(version), version)).reason
        (tmp_path / "mounted").touch()
        assert (await trials.verdict(shelf.offer(version), version)).good


async def test_a_file_that_is_away_for_a_moment_is_no_fault_of_the_content(shelf):
    version = shelf.put()
    content = version.model_file.read_bytes()
    version.model_file.unlink()
    async with trying() as trials:
        away = await trials.verdict(shelf.offer(version), version)
        assert (away.reason, away.may_pass) == ("there is no file model.onnx", True)
        version.model_file.write_bytes(content)
        assert (await trials.verdict(shelf.offer(version), version)).good


@pytest.mark.parametrize("offered_is_good", [True, False])
async def test_what_was_overwritten_while_it_waited_for_its_turn_is_not_remembered(
    shelf, tmp_path, offered_is_good
):
    good, bad = plus(1), b"half a model"
    disk = SlowDisk("of")
    disk.answers.set()
    async with trying(disk, at_once=1) as trials:
        first = asyncio.create_task(trials.verdict(*reversed(held(shelf, tmp_path))))
        await until((tmp_path / "began").exists, within_s=30)
        disk.asked.clear()
        version = shelf.put(2, good if offered_is_good else bad)
        waiting = asyncio.create_task(trials.verdict(shelf.offer(version), version))
        await until(disk.asked.is_set)
        version.model_file.write_bytes(bad if offered_is_good else good)
        first.cancel()
        met = await waiting
        assert (met.good, met.may_pass) == (not offered_is_good, offered_is_good)
        version.model_file.write_bytes(good if offered_is_good else bad)
        assert (await trials.verdict(shelf.offer(version), version)).good is offered_is_good


@pytest.mark.parametrize(
    ("harm", "passes"),
    [
        ("import os; os.kill(os.getpid(), 9)", True),
        ("raise MemoryError", True),
        ("open('/nonexistent/weights')", True),
        ("import os; os._exit(3)", False),
        ("raise KeyError('weights')", False),
    ],
)
async def test_whether_a_rejection_may_pass_comes_out_of_the_trial(shelf, harm, passes):
    async with trying() as trials:
        version = shelf.put(pre_py=f"{harm}\ndef preprocess(inputs): return inputs")
        verdict = await trials.verdict(shelf.offer(version), version)
    assert not verdict.good
    assert verdict.may_pass is passes


async def test_a_nursery_that_dies_is_replaced(shelf):
    async with trying() as trials:
        version = shelf.put()
        assert (await trials.verdict(shelf.offer(version), version)).good
        (nursery,) = nurseries()
        nursery.kill()
        changed = shelf.put(model=plus(3))
        assert (await trials.verdict(shelf.offer(changed), changed)).good


async def test_a_nursery_that_dies_in_mid_trial_is_no_fault_of_the_candidate(shelf, tmp_path):
    async with trying() as trials:
        stuck, offer = held(shelf, tmp_path)
        trial = asyncio.create_task(trials.verdict(offer, stuck))
        await until((tmp_path / "began").exists, within_s=30)
        (stuck.directory / "pre.py").write_text("def preprocess(inputs): return inputs")
        (nursery,) = nurseries()
        nursery.kill()
        assert (await trial).good


def held(shelf: Shelf, tmp_path: Path) -> tuple[VersionOffer, ModelOffer]:
    stuck = shelf.put(pre_py=STUCK)
    return stuck, shelf.offer(
        stuck, config=ModelConfig(name="m", parameters={"began": str(tmp_path / "began")})
    )


async def test_closing_ends_a_trial_under_way_at_once(shelf, tmp_path, family):
    async with trying() as trials:
        trial = asyncio.create_task(trials.verdict(*reversed(held(shelf, tmp_path))))
        await until((tmp_path / "began").exists, within_s=30)
        began = time.monotonic()
        trials.close()
        with pytest.raises(asyncio.CancelledError):
            await trial
        assert await asyncio.to_thread(family.left_after, 5) == []
        assert time.monotonic() - began < 3


async def test_a_caller_who_leaves_ends_its_trial(shelf, tmp_path):
    async with trying() as trials:
        trial = asyncio.create_task(trials.verdict(*reversed(held(shelf, tmp_path))))
        await until((tmp_path / "began").exists, within_s=30)
        (nursery,) = nurseries()
        assert len(nursery.children()) == 1
        trial.cancel()
        await until(lambda: not nursery.children())
        version = shelf.put(2)
        assert (await trials.verdict(shelf.offer(version), version)).good


async def test_a_trial_has_low_priority_and_leaves_no_core(shelf, tmp_path):
    async with trying() as trials:
        trial = asyncio.create_task(trials.verdict(*reversed(held(shelf, tmp_path))))
        await until((tmp_path / "began").exists, within_s=30)
        (nursery,) = nurseries()
        (child,) = nursery.children()
        assert child.nice() == min(psutil.Process().nice() + 10, 19)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert (Path("/proc") / str(child.pid) / "oom_score_adj").read_text().strip() == "1000"
        trial.cancel()


async def test_what_a_candidate_has_started_goes_with_it(shelf, tmp_path):
    forks = f"""
import os, pathlib, time
if os.fork() == 0:
    os.setsid()
    pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
    time.sleep(600)
while not pathlib.Path({str(tmp_path / "pid")!r}).exists(): time.sleep(0.01)
def preprocess(inputs): return inputs
"""
    async with trying() as trials:
        version = shelf.put(pre_py=forks)
        assert (await trials.verdict(shelf.offer(version), version)).good
        pid = int((tmp_path / "pid").read_text())
        await until(lambda: not psutil.pid_exists(pid))


def test_trials_go_with_a_server_that_is_killed(shelf, tmp_path):
    held(shelf, tmp_path)
    (shelf.directory / "config.pbtxt").write_text(
        f'parameters {{ key: "began" value: {{ string_value: "{tmp_path / "began"}" }} }}'
    )
    command = [sys.executable, "-m", "server.cli", "verify", str(shelf.directory)]
    verifier = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        asyncio.run(until((tmp_path / "began").exists, within_s=60))
        family = psutil.Process(verifier.pid).children(recursive=True)
        assert len(family) == 2
    finally:
        verifier.kill()
        verifier.wait()
    _, alive = psutil.wait_procs(family, 10)
    assert alive == []


async def test_the_manager_says_that_it_verifies_and_loads_what_is_good(shelf, tmp_path):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=LIMITS, at_once=2)
    async with Manager(loader, load_threads=2, retire_within_s=5, trials=trials) as manager:
        stuck, offer = held(shelf, tmp_path)
        manager.apply({"m": offer}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        (status,) = manager.index()
        assert (status.state, status.reason) == (State.LOADING, VERIFYING)
        (stuck.directory / "pre.py").write_text("def preprocess(inputs): return inputs")
        nurseries()[0].kill()
        await manager.settle("m")
        (status,) = manager.index()
        assert (status.state, status.reason) == (State.READY, "")


async def test_a_new_content_that_is_rejected_leaves_the_old_one_serving(shelf):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=LIMITS, at_once=2)
    async with Manager(loader, load_threads=2, retire_within_s=5, trials=trials) as manager:
        good = shelf.put()
        manager.apply({"m": shelf.offer(good)}, ["m"])
        await manager.settle("m")
        served = manager.table.find("m", "")
        crashing = shelf.put(pre_py="import os\nos.abort()")
        manager.apply({"m": shelf.offer(crashing)}, ["m"])
        await manager.settle("m")
        (status,) = manager.index()
        assert status.state is State.READY
        assert status.reason.startswith("serving what it was before: it crashed the process that tried it")
        assert manager.table.find("m", "") is served


async def test_a_mended_version_does_not_wait_for_the_trial_of_the_one_that_hangs(shelf, tmp_path):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=Limits(timeout_s=300, memory_bytes=2**30), at_once=2)
    async with Manager(loader, load_threads=2, retire_within_s=5, trials=trials) as manager:
        steady = shelf.put(2)
        stuck, offer = held(shelf, tmp_path)
        manager.apply({"m": replace(offer, versions={1: stuck, 2: steady})}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        mended = shelf.put(pre_py="def preprocess(inputs): return inputs")
        manager.apply({"m": replace(offer, versions={1: mended, 2: steady})}, ["m"])
        async with asyncio.timeout(20):
            await manager.settle("m")
        assert [(line.state, line.reason) for line in manager.index()] == [(State.READY, "")] * 2


async def test_what_hangs_can_be_unloaded_at_once(shelf, tmp_path):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=Limits(timeout_s=300, memory_bytes=2**30), at_once=2)
    async with Manager(loader, load_threads=2, retire_within_s=5, retries=3, trials=trials) as manager:
        _, offer = held(shelf, tmp_path)
        manager.apply({"m": offer}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        manager.apply({"m": offer}, [])
        async with asyncio.timeout(20):
            await manager.settle("m")
        assert [(line.state, line.reason) for line in manager.index()] == [(State.UNAVAILABLE, UNLOADED)]


async def test_what_was_given_up_as_its_files_moved_is_tried_again_when_they_are_as_before(shelf, tmp_path):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=LIMITS, at_once=2)
    async with Manager(loader, load_threads=2, retire_within_s=5, trials=trials) as manager:
        stuck, offer = held(shelf, tmp_path)
        manager.apply({"m": offer}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        (stuck.directory / "pre.py").write_text("def preprocess(inputs): return inputs")
        manager.apply({"m": replace(offer, versions={}, unsettled=frozenset({1}))}, ["m"])
        await manager.settle("m")
        manager.apply({"m": offer}, ["m"])
        await manager.settle("m")
        assert [(line.state, line.reason) for line in manager.index()] == [(State.READY, "")]


async def test_a_manager_that_leaves_does_not_wait_for_a_trial(shelf, tmp_path):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    trials = Trials(Verdicts(), limits=LIMITS, at_once=2)
    began = 0.0
    async with Manager(loader, load_threads=2, retire_within_s=60, trials=trials) as manager:
        manager.apply({"m": held(shelf, tmp_path)[1]}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        began = time.monotonic()
    assert time.monotonic() - began < 5


async def test_a_trial_that_the_machine_spoilt_is_made_again_by_itself(shelf):
    version = with_example(shelf, shelf.put())
    (example,) = version.examples
    content = example.read_bytes()
    example.unlink()
    async with managing(back_off=BackOff(first_s=0.2)) as manager:
        manager.apply({"m": shelf.offer(version)}, ["m"])
        await manager.settle("m")
        (status,) = manager.index()
        assert status.reason == (
            "good.json cannot be read: No such file or directory; it is tried again by itself"
        )
        example.write_bytes(content)
        await until(lambda: manager.index()[0].state is State.READY, within_s=20)


async def test_a_trial_that_was_given_up_is_no_failure(shelf, tmp_path):
    async with managing(back_off=BackOff(first_s=0.05)) as manager:
        _, offer = held(shelf, tmp_path)
        manager.apply({"m": offer}, ["m"])
        await until((tmp_path / "began").exists, within_s=30)
        with structlog.testing.capture_logs() as lines:
            manager.apply({"m": offer}, [])
            manager.apply({"m": offer}, [])
            await manager.settle("m")
        assert [line["event"] for line in lines if line["log_level"] == "error"] == []
        assert "version_waits" not in [line["event"] for line in lines]


async def test_a_rejected_candidate_is_not_tried_once_more_at_once(shelf, tmp_path):
    diary = tmp_path / "diary"
    code = f"import os\nwith open({str(diary)!r}, 'a') as file: file.write('x')\nos._exit(3)"
    async with managing(retries=3) as manager:
        version = shelf.put(pre_py=code)
        manager.apply({"m": shelf.offer(version)}, ["m"])
        await manager.settle("m")
    assert diary.read_text() == "x"


@pytest.mark.parametrize("slow", ["of", "put"])
async def test_stopping_while_a_verdict_is_read_or_kept_is_no_crash(shelf, slow):
    disk = SlowDisk(slow)
    if slow == "of":
        version = shelf.put()
        async with trying(disk) as trials:
            disk.answers.set()
            assert (await trials.verdict(shelf.offer(version), version)).good
            disk.asked.clear()
            disk.answers.clear()
    version = shelf.put()
    with structlog.testing.capture_logs() as lines:
        async with managing(disk) as manager:
            manager.apply({"m": shelf.offer(version)}, ["m"])
            await until(disk.asked.is_set, within_s=30)
            asyncio.get_running_loop().call_later(0.1, disk.answers.set)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
