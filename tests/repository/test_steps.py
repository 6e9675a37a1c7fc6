"""The steps of an ensemble, as an operator writes them: what they say, and what they must not say."""

from pathlib import Path

import pytest

from server.domain.configuration import Platform
from server.domain.ensemble import LATEST, Ensemble, Step
from server.repository.configuration import read_text
from server.repository.invalid import ConfigInvalid
from server.repository.scanner import Scanner
from tests.e2e.ensembles import DIAMOND, ONE_IN, ONE_OUT, ensemble, step, tensors
from tests.repository.conftest import Repository

AB = step("a", {"x": "X"}, {"y": "mid"})
BC = step("b", {"x": "mid"}, {"y": "Y"})


def chain(*steps: str, inputs: str = ONE_IN, outputs: str = ONE_OUT, more: str = "") -> str:
    return ensemble(*(steps or (AB, BC)), inputs=inputs, outputs=outputs) + more


def test_the_steps_are_read():
    pinned = step("b", {"x": "mid"}, {"y": "Y", "z": "Z"}, version=3)
    text = ensemble(
        AB,
        pinned,
        inputs=ONE_IN,
        outputs=ONE_OUT + tensors("output", Z="FP32 1"),
        more="max_inflight_requests: 7\n",
    )
    config = read_text(text.encode(), "m", "f").config
    assert config.platform is Platform.ENSEMBLE
    assert config.max_batch_size == 8
    assert config.ensemble == Ensemble(
        steps=(
            Step(model="a", version=LATEST, inputs={"x": "X"}, outputs={"y": "mid"}),
            Step(model="b", version=3, inputs={"x": "mid"}, outputs={"y": "Y", "z": "Z"}),
        ),
        max_inflight_requests=7,
    )
    assert [each.wanted for each in config.ensemble.steps] == ["", "3"]


def test_a_platform_need_not_be_named_and_no_batch_size_is_none():
    text = chain().replace('platform: "ensemble"', "").replace("max_batch_size: 8", "")
    config = read_text(text.encode(), "m", "f").config
    assert (config.platform, config.max_batch_size) == (Platform.ENSEMBLE, 0)


STEP = "ensemble_scheduling.step"
BAD = [
    # configuration, field, a part of the sentence
    (chain(inputs=""), "input", "is missing: an ensemble has no file"),
    (chain(outputs=""), "output", "is missing: an ensemble has no file"),
    ('platform: "ensemble"\nensemble_scheduling { }\n' + ONE_IN + ONE_OUT, STEP, "at least one"),
    (chain(AB, 'step { input_map { key: "x" value: "mid" } }'), f"{STEP}[1].model_name", "is missing"),
    (chain(AB, step("m", {"x": "mid"}, {"y": "Y"})), f"{STEP}[1].model_name", "the ensemble itself"),
    (chain(AB, step("b", {"x": "mid"}, {"y": "Y"}, -2)), f"{STEP}[1].model_version", "-1 for the latest"),
    (chain(AB, step("b", {}, {"y": "Y"})), f"{STEP}[1].input_map", "is missing"),
    (chain(AB, step("b", {"x": "mid"}, {})), f"{STEP}[1].output_map", "is missing"),
    (chain(AB, step("b", {"x": ""}, {"y": "Y"})), f"{STEP}[1].input_map", "must have a name"),
    (chain(AB, step("b", {"x": "mid"}, {"": "Y"})), f"{STEP}[1].output_map", "must have a name"),
    (chain(AB, step("b", {"x": "mud"}, {"y": "Y"})), f"{STEP}[1].input_map", "takes 'mud', which is no"),
    (chain(AB, BC, step("c", {"x": "X"}, {"y": "Y"})), f"{STEP}[2].output_map", "which step 1 gives already"),
    (chain(step("a", {"x": "X"}, {"y": "Y", "z": "Y"})), f"{STEP}[0].output_map", "step 0 gives already"),
    (chain(AB, step("b", {"x": "mid"}, {"y": "Y", "z": "X"})), f"{STEP}[1].output_map", "the ensemble's"),
    (chain(AB, BC, step("c", {"x": "X"}, {"y": "Z"})), f"{STEP}[2].output_map", "'Z', which nothing takes"),
    (chain(inputs=ONE_IN + tensors("input", W="FP32 1")), "input[1]", "is 'W', which no step takes"),
    (chain(outputs=ONE_OUT + tensors("output", W="FP32 1")), "output[1]", "is 'W', which no step gives"),
    (
        chain(step("a", {"x": "X", "w": "Y"}, {"y": "mid"}), BC),
        f"{STEP}[0]",
        "its inputs need its outputs: see steps 0, 1",
    ),
    (
        chain(AB, step("b", {"x": "mid", "w": "own"}, {"y": "Y", "z": "own"})),
        f"{STEP}[1]",
        "its inputs need its outputs: see steps 1",
    ),
    (chain(more="instance_group { count: 2 }"), "instance_group", "is not for an ensemble"),
    (chain(more="optimization { }"), "optimization", "is not for an ensemble"),
    (chain(more='model_warmup { name: "w" }'), "model_warmup", "is not for an ensemble"),
    (chain(inputs=ONE_IN.replace("] }", "] reshape { shape: [ ] } }")), "input[0].reshape", "not for an"),
    (chain(more="dynamic_batching { }"), "dynamic_batching", "beside ensemble_scheduling"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "field", "part"), BAD, ids=[f"{field}: {part}" for _, field, part in BAD])
def test_steps_that_cannot_work_are_refused_with_their_place(text: str, field: str, part: str):
    with pytest.raises(ConfigInvalid) as refused:
        read_text(text.encode(), "m", "m/config.pbtxt")
    assert refused.value.field == field
    assert part in refused.value.sentence


def test_a_version_of_an_ensemble_is_an_empty_folder(repository: Repository, scanner: Scanner):
    (repository.path / "e" / "1").mkdir(parents=True)
    (repository.path / "e" / "config.pbtxt").write_text(DIAMOND)
    offer = scanner.scan().offers["e"]
    assert offer.problem == ""
    assert offer.broken == {}
    assert offer.versions[1].model_file is None


@pytest.mark.parametrize("name", ["pre.py", "post.py"])
def test_code_in_an_ensembles_folder_is_refused_as_nothing_would_run_it(
    repository: Repository, scanner: Scanner, name: str
):
    folder = repository.path / "e" / "1"
    folder.mkdir(parents=True)
    Path(folder / name).write_text("")
    (repository.path / "e" / "config.pbtxt").write_text(DIAMOND)
    offer = scanner.scan().offers["e"]
    assert not offer.versions
    assert f"holds {name}, which an ensemble does not run" in offer.broken[1]


def test_an_edit_of_the_steps_is_another_content():
    edited = DIAMOND.replace('"triple"', '"double"')
    fingerprints = {read_text(text.encode(), "m", "f").fingerprint for text in (DIAMOND, edited)}
    assert len(fingerprints) == 2
