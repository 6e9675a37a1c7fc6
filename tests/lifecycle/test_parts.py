"""Which part of every version a process of one tier takes out of what is offered."""

from dataclasses import replace
from pathlib import Path

import pytest

from server.domain.configuration import ModelConfig
from server.domain.ensemble import Ensemble, Step
from server.domain.offer import ModelOffer, VersionOffer, content_of
from server.lifecycle.parts import WHOLE, Parts

PRE, MODEL, POST = Path("pre.py"), Path("model.onnx"), Path("post.py")
EXAMPLE = (Path("good.json"),)


def version(number: int = 1, **files: Path) -> VersionOffer:
    offer = VersionOffer(
        version=number, directory=Path(str(number)), fingerprint=f"files {number}", examples=EXAMPLE
    )
    return replace(offer, model_file=MODEL, **files)


def offers(*versions: VersionOffer, **facts) -> dict[str, ModelOffer]:
    facts = {"config": ModelConfig(name="m"), **facts}
    there = {each.version: each for each in versions}
    return {"m": ModelOffer(name="m", directory=Path("m"), versions=there, on_disk=frozenset(there), **facts)}


BARE, BEFORE, BEHIND, BOTH = version(), version(pre=PRE), version(post=POST), version(pre=PRE, post=POST)


def test_its_files_tell_the_stages_of_a_version():
    assert [each.stages for each in (BARE, BEFORE, BEHIND, BOTH)] == [
        ("predict",),
        ("pre", "predict"),
        ("predict", "post"),
        ("pre", "predict", "post"),
    ]


def test_a_whole_server_takes_everything():
    there = offers(BOTH)
    assert WHOLE.of(there) is there
    assert [BOTH.loads(stage) for stage in ("pre", "predict", "post")] == [True, True, True]
    assert not BARE.loads("pre")


@pytest.mark.parametrize("stage", ["pre", "predict", "post"])
def test_a_tier_loads_its_own_stage_alone(stage):
    taken = Parts(stage).of(offers(BOTH))["m"].versions[1]
    assert [taken.loads(each) for each in taken.stages] == [each == stage for each in taken.stages]
    assert taken.stages == BOTH.stages


@pytest.mark.parametrize("stage", ["pre", "predict", "post"])
def test_every_tier_means_the_same_content(stage):
    whole = offers(BOTH)["m"]
    part = Parts(stage).of(offers(BOTH))["m"]
    assert content_of(part, part.versions[1]) == content_of(whole, BOTH)


def test_a_version_without_the_stage_is_not_there():
    there = offers(version(1), version(2, pre=PRE))
    assert Parts("pre").of(there)["m"].versions.keys() == {2}
    assert Parts("predict").of(there)["m"].versions.keys() == {1, 2}
    assert Parts("post").of(there) == {}


def test_what_cannot_be_read_is_told_of_in_every_tier():
    broken = offers(config=None, problem="config.pbtxt line 1: no")
    assert Parts("pre").of(broken) == broken


def test_a_model_is_not_gone_while_a_version_of_it_is_being_written():
    there = offers(BARE, unsettled=frozenset({2}))
    assert Parts("pre").of(there)["m"].unsettled == {2}


def test_an_ensemble_is_nothing_that_one_tier_could_answer():
    steps = (Step(model="a", version=-1, inputs={"X": "x"}, outputs={"Y": "y"}),)
    there = offers(version(), config=ModelConfig(name="m", ensemble=Ensemble(steps=steps)))
    assert Parts("predict").of(there) == {}
    assert WHOLE.of(there) == there


@pytest.mark.parametrize(
    ("stage", "whole", "examples"),
    [
        ("predict", BARE, EXAMPLE),
        ("pre", BOTH, EXAMPLE),
        ("predict", BOTH, ()),
        ("predict", BEFORE, ()),
        ("predict", BEHIND, ()),
        ("post", BOTH, ()),
    ],
)
def test_a_golden_example_goes_where_it_can_be_asked(stage, whole, examples):
    assert Parts(stage).of(offers(whole))["m"].versions[1].examples == examples
