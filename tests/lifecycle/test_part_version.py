"""A version of which a process has nothing but its own code, and the trial that it goes through before."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtimes.errors import ModelBroken
from server.domain.configuration import ModelConfig, Platform, TensorConfig
from server.domain.offer import ModelOffer, VersionOffer, content_of
from server.domain.state import State
from server.domain.tensors import TensorSpec
from server.lifecycle.ending import Limits
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.part_trial import judge_part
from server.lifecycle.part_version import PartVersion, open_part
from server.lifecycle.parts import Parts
from server.lifecycle.trial import Job
from server.lifecycle.trials import Trials
from server.lifecycle.verdict import Verdict, depends_on_its_own_code, key, surroundings
from server.lifecycle.verdicts import Verdicts
from tests.lifecycle.shelf import Shelf

LENGTHS = """
import numpy as np
INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
def preprocess(inputs):
    if not inputs["text"].size: raise ValueError("nothing was said")
    return {"x": np.array([[len(row[0]), 0] for row in inputs["text"]], np.float32)}
"""
SUMS = """
OUTPUTS = [{"name": "sum", "datatype": "FP32", "shape": [-1]}]
def postprocess(outputs): return {"sum": outputs["y"].sum(axis=1)}
"""
NO_RUNTIME = """
import sys
def setup(context):
    found = {"onnxruntime", "torch"} & set(sys.modules)
    if found: raise RuntimeError(f"a runtime was imported: {found}")
def preprocess(inputs): return inputs
def postprocess(outputs): return outputs
"""
AS_IT_IS = "def preprocess(inputs): return inputs"
NOBODYS = "raise RuntimeError('this code is not for this tier')"
CONTENT = Content("content")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


def part_of(shelf: Shelf, stage: str, config: ModelConfig | None = None, **texts: str) -> ModelOffer:
    offer = shelf.offer(shelf.put(**texts), config=config)
    return Parts(stage).of({"m": offer})["m"]


def opened(offer: ModelOffer) -> PartVersion:
    return open_part(offer, offer.versions[1], CONTENT)


def modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("m.1.")}


async def test_a_pre_tier_takes_what_its_code_declares_and_has_no_model(shelf):
    served = opened(part_of(shelf, "pre", pre_py=LENGTHS, post_py=NOBODYS))
    assert (served.stage, served.stages, served.staged) == ("pre", ("pre", "predict", "post"), True)
    assert served.facts.signature.inputs == (TensorSpec("text", "BYTES", (-1, 1)),)
    assert served.facts.signature.outputs == ()
    assert (served.facts.platform, served.facts.devices) == (Platform.ONNX, ())
    assert served.part.run({"text": np.array([[b"four"]], object)}, "id")["x"].tolist() == [[4, 0]]


async def test_a_post_tier_gives_what_its_code_declares_with_its_labels(shelf, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    y = TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="names.txt")
    config = ModelConfig(name="m", max_batch_size=4, outputs=(y,))
    offer = replace(part_of(shelf, "post", config, pre_py=NOBODYS, post_py=SUMS), labels={"names.txt": names})
    served = opened(offer)
    assert served.facts.signature.inputs == (TensorSpec("y", "FP32", (-1, 2)),)
    assert served.facts.signature.outputs == (TensorSpec("sum", "FP32", (-1,)),)
    assert served.facts.labels == {"y": ("cat", "dog")}


def test_shapes_that_only_the_model_could_tell_are_not_made_up(shelf):
    x = TensorConfig(name="x", datatype="FP32", dims=(2,))
    served = opened(part_of(shelf, "pre", ModelConfig(name="m", inputs=(x,)), pre_py=AS_IT_IS))
    assert served.facts.signature.inputs == ()  # nobody has said whether the model batches
    assert not served.checks


def test_code_that_cannot_be_opened_says_why_and_leaves_nothing_open(shelf):
    before = modules()
    with pytest.raises(ModelBroken, match=r"pre\.py line 1: SyntaxError"):
        opened(part_of(shelf, "pre", pre_py="def preprocess(inputs) return"))
    offer = part_of(shelf, "post", post_py=SUMS)
    y = TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="no.txt")
    assert offer.config is not None
    with pytest.raises(ModelBroken, match=r"the label file no\.txt, which is not there"):
        opened(replace(offer, config=replace(offer.config, outputs=(y,))))
    assert modules() == before


async def test_a_part_is_closed_once_its_last_request_is_over(shelf):
    before = modules()
    served = opened(part_of(shelf, "pre", pre_py=LENGTHS))
    assert len(modules() - before) == 1
    with served.lease():
        retiring = asyncio.create_task(served.retire(10))
        await asyncio.sleep(0)
        assert len(modules() - before) == 1
        assert served.part.run({"text": np.array([[b"two"]], object)}, "id")
    await retiring
    assert modules() == before


def test_a_predict_tier_opens_the_model_and_runs_no_code_of_the_version(shelf):
    offer = part_of(shelf, "predict", pre_py=NOBODYS, post_py=NOBODYS)
    loaded = Loader(cpu_budget=1, max_queue_size=1).load(offer, offer.versions[1], models=1)
    assert (loaded.pre, loaded.post) == (None, None)
    assert loaded.sees.inputs == (TensorSpec("x", "FP32", (-1, 2)),)
    loaded.close()


# Trials.


def with_example(offer: ModelOffer, text: str) -> ModelOffer:
    version = offer.versions[1]
    path = version.directory / "good.json"
    inputs = [
        {"name": "text", "shape": [len(text) and 1, 1], "datatype": "BYTES", "data": [text][: len(text)]}
    ]
    outputs = [{"name": "sum", "shape": [1], "datatype": "FP32", "data": [5]}]
    path.write_text(json.dumps({"request": {"inputs": inputs}, "response": {"outputs": outputs}}))
    return replace(offer, versions={1: replace(version, examples=(path,))})


def judged(offer: ModelOffer) -> Verdict:
    told: list[str] = []
    verdict = judge_part(Job(offer, offer.versions[1], auto_complete=True), told.append)
    assert told[0] == "loading"
    return verdict


def test_a_golden_example_is_a_question_to_pre_processing(shelf):
    verdict = judged(with_example(part_of(shelf, "pre", pre_py=LENGTHS), "four"))
    assert (verdict.reason, verdict.checked) == ("", ("loading", "golden example 'good'"))
    refused = judged(with_example(part_of(shelf, "pre", pre_py=LENGTHS), ""))
    assert refused.reason == "golden example 'good' is not answered: it is refused: nothing was said"
    assert not refused.lasting
    crashing = LENGTHS.replace("np.array", "np.aray")
    assert judged(with_example(part_of(shelf, "pre", pre_py=crashing), "four")).reason.startswith(
        "golden example 'good' is not answered: pre.py line 6: preprocess raised AttributeError"
    )


def test_code_that_cannot_be_opened_is_rejected(shelf):
    assert judged(part_of(shelf, "post", post_py=NOBODYS)).reason == (
        "post.py line 1: RuntimeError: this code is not for this tier"
    )


async def tried(offer: ModelOffer) -> Verdict:
    """In a process of its own."""
    trials = Trials(Verdicts(), limits=Limits(timeout_s=20, memory_bytes=2**30), at_once=1)
    try:
        return await trials.verdict(offer, offer.versions[1])
    finally:
        trials.close()


@pytest.mark.parametrize("stage", ["pre", "post"])
async def test_code_is_tried_in_a_process_that_has_no_runtime(shelf, stage):
    code = {"pre_py": NOBODYS, "post_py": NOBODYS, f"{stage}_py": NO_RUNTIME}
    verdict = await tried(part_of(shelf, stage, **code))
    assert (verdict.reason, verdict.checked) == ("", ("loading",))


async def test_a_model_is_tried_without_the_code_around_it(shelf):
    verdict = await tried(part_of(shelf, "predict", pre_py=NOBODYS, post_py=NOBODYS))
    assert verdict.reason == ""
    assert "runs of up to 4 rows" in verdict.checked


async def test_a_manager_serves_the_part_and_nothing_else(shelf):
    loader = Loader(cpu_budget=1, max_queue_size=10)
    async with Manager(loader, load_threads=1, retire_within_s=5) as manager:
        manager.apply({"m": part_of(shelf, "pre", pre_py=LENGTHS, post_py=NOBODYS)}, ["m"])
        await manager.settle("m")
        assert [(line.state, line.reason) for line in manager.index()] == [(State.READY, "")]
        first = manager.table.find("m", "")
        assert isinstance(first, PartVersion)
        manager.apply({"m": part_of(shelf, "pre", pre_py=LENGTHS, post_py=SUMS)}, ["m"])
        await manager.settle("m")
        swapped = manager.table.find("m", "")
        assert isinstance(swapped, PartVersion)
        assert swapped.content != first.content
        manager.apply({}, [])
        await manager.settle("m")
        assert list(manager.index()) == []


def test_a_verdict_on_one_stage_is_none_on_another(shelf):
    around = surroundings(auto_complete=True)
    offer = shelf.offer(shelf.put(pre_py=LENGTHS, post_py=SUMS))
    keys = {
        key(each, each.versions[1], around)
        for each in (offer, *(Parts(stage).of({"m": offer})["m"] for stage in ("pre", "predict", "post")))
    }
    assert len(keys) == 4


def test_whether_code_of_its_own_runs_is_asked_of_the_part_that_is_loaded(shelf):
    def own(stage: str) -> bool:
        offer = part_of(shelf, stage, pre_py=LENGTHS, post_py=SUMS)
        return depends_on_its_own_code(offer.versions[1])

    assert [own(stage) for stage in ("pre", "predict", "post")] == [True, False, True]


def test_the_offer_of_a_part_has_the_content_of_the_whole(shelf):
    offer = shelf.offer(shelf.put(pre_py=LENGTHS))
    version: VersionOffer = Parts("pre").of({"m": offer})["m"].versions[1]
    assert content_of(offer, version) == content_of(offer, offer.versions[1])
