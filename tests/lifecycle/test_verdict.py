"""A verdict as a value: what it hangs on, and how it comes back from a disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.verdict import (
    Verdict,
    VerdictUnreadable,
    depends_on_its_own_code,
    key,
    surroundings,
)

VERDICT = Verdict(
    checked=("loading",),
    doubts=("hm",),
    load_seconds=0.5,
    loaded_bytes=10,
    run_bytes=5,
    peak_bytes=20,
    run_seconds={1: 0.001, 4: 0.002},
    described={"platform": "onnxruntime_onnx"},
)
MODEL = ModelOffer(name="m", directory=Path("m"), config=ModelConfig(name="m"), fingerprint="c")
VERSION = VersionOffer(version=1, directory=Path("m/1"), fingerprint="f", model_file=Path("m/1/model.onnx"))


def test_a_verdict_comes_back_from_json_as_it_was():
    assert Verdict.from_json(json.loads(json.dumps(VERDICT.to_json()))) == VERDICT


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "{}", "null", '"good"'),
        json.dumps(VERDICT.to_json() | {"reason": None}),
        json.dumps(VERDICT.to_json() | {"lasting": 1}),
        json.dumps(VERDICT.to_json() | {"checked": "loading"}),
        json.dumps(VERDICT.to_json() | {"run_seconds": {"one": 1}}),
        json.dumps(VERDICT.to_json() | {"more": 1}),
    ],
)
def test_what_is_no_verdict_is_not_taken_for_one(text):
    with pytest.raises(VerdictUnreadable):
        Verdict.from_json(json.loads(text))


def test_content_decides_which_verdict_it_is_and_not_where_it_lies():
    around = surroundings(auto_complete=True)
    same = key(MODEL, VERSION, around)
    elsewhere = replace(VERSION, directory=Path("n/7"), version=7)
    assert key(replace(MODEL, name="n"), elsewhere, around) == same
    others = {
        key(replace(MODEL, fingerprint="d"), VERSION, around),
        key(MODEL, replace(VERSION, fingerprint="g"), around),
        key(MODEL, VERSION, surroundings(auto_complete=False)),
        key(MODEL, VERSION, replace(around, verification=around.verification + 1)),
        key(MODEL, VERSION, replace(around, runtimes=(("torch", "99"),))),
    }
    assert len(others | {same}) == 6


def test_other_instances_ask_for_no_other_trial():
    around = surroundings(auto_complete=True)
    one = replace(MODEL, fingerprint="one instance", fingerprint_but_instances="the rest")
    two = replace(one, fingerprint="two instances")
    assert key(one, VERSION, around) == key(two, VERSION, around)
    assert key(one, VERSION, around) != key(replace(two, fingerprint_but_instances="else"), VERSION, around)


def test_the_runtimes_that_are_installed_are_part_of_it():
    assert dict(surroundings(auto_complete=True).runtimes)["numpy"]


@pytest.mark.parametrize(
    "version",
    [
        replace(VERSION, pre=Path("pre.py")),
        replace(VERSION, post=Path("post.py")),
        replace(VERSION, model_file=Path("model.py")),
    ],
)
def test_python_code_may_hang_on_what_no_fingerprint_covers(version):
    assert depends_on_its_own_code(version)
    assert not depends_on_its_own_code(VERSION)
