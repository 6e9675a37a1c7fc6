"""Opening everything that one version needs, with real sessions of both runtimes."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtimes.device import CPU
from runtimes.errors import ModelBroken, SignatureUnknown
from runtimes.tensors import TensorSpec
from server.domain.configuration import (
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    Platform,
    QueuePolicy,
    Resource,
    TensorConfig,
)
from server.domain.errors import InvalidRequest, QueueFull
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.padding import Padding
from server.domain.scheduling import Scheduling
from server.domain.warmup import Warmup, WarmupData, WarmupInput
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.placement import Placement
from server.lifecycle.version import ServedVersion
from server.lifecycle.warmup import WarmupFailed
from server.scheduling.resources import Limit, ResourceShort
from server.scheduling.ticket import Ticket
from tests.e2e.workshop import attentive
from tests.lifecycle.shelf import Shelf
from tests.runtimes.models import Identity, script

PRE = """
import numpy

INPUTS = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]

def preprocess(inputs):
    return {"x": numpy.array([[len(text), 0] for (text,) in inputs["text"]], numpy.float32)}
"""
POST = """
OUTPUTS = [{"name": "length", "datatype": "FP32", "shape": [-1]}]

def postprocess(outputs):
    return {"length": outputs["y"][:, 0]}
"""
CONTENT = Content("content")
AS_IT_IS = "def preprocess(inputs): return inputs"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


@pytest.fixture
def loader() -> Loader:
    return Loader(cpu_budget=2, max_queue_size=5)


def config(**facts) -> ModelConfig:
    return ModelConfig(name="m", **facts)


def loaded(loader: Loader, offer: ModelOffer) -> Loaded:
    (version,) = offer.versions.values()
    return loader.load(offer, version, models=1)


def modules() -> set[str]:
    """The code of versions that is open."""
    return {name for name in sys.modules if name.startswith("m.1.")}


async def answer(served: ServedVersion, **inputs: np.ndarray) -> dict[str, list]:
    told = asyncio.get_running_loop().create_future()
    served.batcher.submit(Ticket(inputs, 1, told.set_result))
    ticket = await asyncio.wait_for(told, 10)
    if ticket.error is not None:
        raise ticket.error
    return {name: array.tolist() for name, array in ticket.outputs.items()}


def torchscript(shelf: Shelf) -> VersionOffer:
    folder = shelf.directory / "1"
    folder.mkdir(parents=True)
    return shelf.put(model=script(folder, Identity()).read_bytes(), file_name="model.pt")


def with_example(
    version: VersionOffer,
    name: str = "good",
    values: object = (1.0, 2.0),
    tensors: tuple[dict[str, object], dict[str, object]] | None = None,
) -> VersionOffer:
    """An input and an output, both x with these values unless told otherwise."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": values}
    asked, answered = tensors or (tensor, tensor)
    path = version.directory / "examples" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"request": {"inputs": [asked]}, "response": {"outputs": [answered]}}))
    return replace(version, examples=(path,))


async def test_an_onnx_model_without_configuration_serves_what_its_file_says(shelf, loader):
    opened = loaded(loader, shelf.offer(shelf.put()))
    assert (opened.described.platform, opened.config.max_batch_size) == (Platform.ONNX, 4)
    assert opened.sees.inputs == (TensorSpec("x", "FP32", (-1, 2)),)
    assert opened.sees.outputs == (TensorSpec("y", "FP32", (-1, 2)),)
    served = loader.assemble(opened, CONTENT)
    assert await answer(served, x=np.zeros((1, 2), np.float32)) == {"y": [[1, 1]]}
    await served.retire(5)


async def test_a_torchscript_model_serves_what_is_declared(shelf, loader):
    x, y = (TensorConfig(name=name, datatype="FP32", dims=(2,)) for name in ("x", "OUTPUT__0"))
    offer = shelf.offer(torchscript(shelf), config=config(max_batch_size=8, inputs=(x,), outputs=(y,)))
    served = loader.assemble(loaded(loader, offer), CONTENT)
    assert (served.facts.platform, served.predicts.max_batch_size) == (Platform.TORCHSCRIPT, 8)
    assert await answer(served, x=np.ones((1, 2), np.float32)) == {"OUTPUT__0": [[1, 1]]}
    await served.retire(5)


def test_a_torchscript_model_is_described_by_its_golden_example(shelf, loader):
    opened = loaded(loader, shelf.offer(with_example(torchscript(shelf))))
    assert opened.sees.inputs == (TensorSpec("x", "FP32", (-1, 2)),)
    assert [example.name for example in opened.examples] == ["good"]


def test_a_golden_example_describes_the_model_through_its_own_pre_processing(shelf, loader):
    version = replace(with_example(torchscript(shelf)), pre=shelf.directory / "1" / "pre.py")
    version.pre.write_text("def preprocess(inputs): return {'x': inputs['x'].repeat(3, axis=1)}")
    assert loaded(loader, shelf.offer(version)).predicts.inputs == (TensorSpec("x", "FP32", (-1, 6)),)


def test_a_torchscript_model_that_nobody_describes_is_refused_with_the_configuration_to_write(shelf, loader):
    with pytest.raises(SignatureUnknown, match=r"golden example.*input \[ \{ name: \"x\" data_type"):
        loaded(loader, shelf.offer(torchscript(shelf)))


async def test_clients_see_the_contracts_of_the_versions_own_code_and_the_model_its_own(shelf, loader):
    before = modules()
    served = loader.assemble(loaded(loader, shelf.offer(shelf.put(pre_py=PRE, post_py=POST))), CONTENT)
    assert served.facts.signature.inputs == (TensorSpec("text", "BYTES", (-1, 1)),)
    assert served.facts.signature.outputs == (TensorSpec("length", "FP32", (-1,)),)
    assert served.predicts.inputs == (TensorSpec("x", "FP32", (-1, 2)),)
    assert served.staged
    tensors = served.pre.run({"text": np.array([[b"four"]], object)}, "id")
    assert tensors["x"].tolist() == [[4, 0]]
    assert len(modules() - before) == 2
    await served.retire(5)
    assert modules() == before


def test_setup_is_told_of_its_version_and_of_the_configurations_parameters(shelf, loader, tmp_path):
    told = tmp_path / "told"
    pre = (
        "def setup(context):\n"
        "    words = (context.model, context.version, context.directory.name)\n"
        "    open(context.parameters['told'], 'w').write(repr(words))\n" + AS_IT_IS
    )
    offer = shelf.offer(shelf.put(pre_py=pre), config=config(parameters={"told": str(told)}))
    loaded(loader, offer).pre.close()
    assert told.read_text() == "('m', 1, '1')"


def test_all_instances_of_a_device_share_one_session(shelf, loader):
    groups = (InstanceGroup(kind=InstanceKind.CPU, count=3),)
    opened = loaded(loader, shelf.offer(shelf.put(), config=config(instance_groups=groups)))
    assert opened.placements == (Placement(CPU, 3),)
    assert opened.sessions.keys() == {CPU}


def test_class_names_are_read_from_the_files_that_the_configuration_names(shelf, loader, tmp_path):
    y = TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="animals.txt")
    names = tmp_path / "animals.txt"
    names.write_text("cat\nhéron\n", encoding="utf-8")
    offer = shelf.offer(shelf.put(), config=config(outputs=(y,)), labels={"animals.txt": names})
    assert loaded(loader, offer).labels == {"y": ("cat", "héron")}
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(ModelBroken, match=r"the label file animals\.txt cannot be read"):
        loaded(loader, offer)
    with pytest.raises(ModelBroken, match=r"'y' names the label file animals\.txt, which is not there"):
        loaded(loader, replace(offer, labels={}))


def test_without_auto_completion_inputs_and_outputs_must_be_declared(shelf):
    strict = Loader(cpu_budget=2, max_queue_size=5, auto_complete=False)
    with pytest.raises(SignatureUnknown, match="auto-completion is off"):
        loaded(strict, shelf.offer(shelf.put()))
    x, y = (TensorConfig(name=name, datatype="FP32", dims=(2,)) for name in "xy")
    declared = config(max_batch_size=4, inputs=(x,), outputs=(y,))
    assert loaded(strict, shelf.offer(shelf.put(), config=declared)).config.inputs == (x,)


def test_a_file_of_any_name_is_opened_as_the_platform_that_is_configured(shelf, loader):
    version = shelf.put(file_name="weights.bin")
    assert loaded(loader, shelf.offer(version, config=config(platform=Platform.ONNX))).sees.inputs


async def test_the_queue_policy_of_the_configuration_is_the_versions(shelf, loader):
    policy = QueuePolicy(max_queue_size=2)
    offer = shelf.offer(
        shelf.put(),
        config=config(max_batch_size=4, dynamic_batching=DynamicBatching(default_queue_policy=policy)),
    )
    served = loader.assemble(loaded(loader, offer), CONTENT)
    tickets = [Ticket({"x": np.zeros((1, 2), np.float32)}, 1, lambda _: None) for _ in range(3)]
    served.batcher.submit(tickets[0])
    served.batcher.submit(tickets[1])
    with pytest.raises(QueueFull, match="already has 2 requests waiting"):
        served.batcher.submit(tickets[2])
    await served.retire(5)


@pytest.mark.parametrize(
    ("content", "facts", "error", "sentence"),
    [
        ({"model": b"no model at all"}, {}, ModelBroken, r"model\.onnx cannot be loaded"),
        ({"post_py": "def postprocess(outputs) return"}, {}, ModelBroken, r"post\.py line 1: SyntaxError"),
        ({"post_py": "x = 1"}, {}, ModelBroken, r"post\.py has no function postprocess"),
        (
            {},
            {"inputs": (TensorConfig(name="z", datatype="FP32", dims=(2,)),)},
            ConfigContradicts,
            "input 'z' is configured, but the model has 'x'",
        ),
        (
            {},
            {"outputs": (TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="no.txt"),)},
            ModelBroken,
            "which is not there",
        ),
    ],
)
def test_whatever_fails_says_why_and_leaves_nothing_open(shelf, loader, content, facts, error, sentence):
    offer = shelf.offer(shelf.put(pre_py=AS_IT_IS, **content), config=config(**facts))
    before = modules()
    with pytest.raises(error, match=sentence):
        loaded(loader, offer)
    assert modules() == before


ZEROS = Warmup(
    name="zeros",
    batch_size=2,
    count=3,
    inputs=(WarmupInput(name="x", datatype="FP32", dims=(2,), data=WarmupData.ZERO),),
)


async def test_a_warmup_runs_before_the_version_serves_and_does_not_count(shelf, loader):
    opened = loaded(loader, shelf.offer(shelf.put(), config=config(max_batch_size=4, warmups=(ZEROS,))))
    assert opened.learned.keys() == {2}
    served = loader.assemble(opened, CONTENT)
    assert (served.facts.tally.execution_count, served.facts.tally.inference_count) == (0, 0)
    await served.retire(5)


def test_a_warmup_that_fails_fails_the_load_and_leaves_nothing_open(shelf, loader):
    broken = replace(ZEROS, name="too wide", inputs=(replace(ZEROS.inputs[0], dims=(7,)),))
    offer = shelf.offer(shelf.put(pre_py=AS_IT_IS), config=config(max_batch_size=4, warmups=(ZEROS, broken)))
    before = modules()
    for _ in range(2):
        with pytest.raises(WarmupFailed, match=r"warmup sample 'too wide': .*Expected \[-1,2\], got \[2,7\]"):
            loaded(loader, offer)
    assert modules() == before


def test_a_model_with_a_latency_target_learns_what_runs_take_and_no_other_does(shelf, loader):
    target = config(max_batch_size=8, scheduling=Scheduling(latency_target_ms=50))
    assert loaded(loader, shelf.offer(shelf.put(), config=target)).learned.keys() == {1, 2, 4, 8}
    batching = config(max_batch_size=8, dynamic_batching=DynamicBatching())
    assert loaded(loader, shelf.offer(shelf.put(), config=batching)).learned == {}
    both = replace(target, warmups=(ZEROS,))
    assert loaded(loader, shelf.offer(shelf.put(), config=both)).learned.keys() == {2}


def padded(**facts) -> ModelConfig:
    """Of a model that takes ids and a mask, of which clients need bring no mask."""
    return config(max_batch_size=4, padding=Padding(buckets=(4, 8), mask_input="mask"), **facts)


def test_a_padded_model_is_warmed_up_with_what_its_clients_bring(shelf, loader):
    ids = WarmupInput(name="ids", datatype="INT64", dims=(3,), data=WarmupData.ZERO)
    words = Warmup(name="three words", batch_size=2, count=1, inputs=(ids,))
    offer = shelf.offer(shelf.put(model=attentive()), config=padded(warmups=(words,)))
    assert loaded(loader, offer).learned.keys() == {2}


def test_a_padded_model_learns_from_an_example_without_a_mask(shelf, loader):
    target = padded(scheduling=Scheduling(latency_target_ms=50))
    ids = {"name": "ids", "shape": [1, 3], "datatype": "INT64", "data": [1, 2, 3]}
    mean = {"name": "mean", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 0, 0]}
    version = with_example(shelf.put(model=attentive()), tensors=(ids, mean))
    assert loaded(loader, shelf.offer(version, config=target)).learned.keys() == {1, 2, 4}


def test_an_instance_that_needs_more_than_the_rate_limiter_has_is_refused(shelf):
    limited = Loader(cpu_budget=2, max_queue_size=5, resource_limits=[Limit("R", 2)])
    group = InstanceGroup(kind=InstanceKind.CPU, count=1, resources=(Resource(name="R", count=2),))
    (placement,) = loaded(
        limited, shelf.offer(shelf.put(), config=config(instance_groups=(group,)))
    ).placements
    assert placement == Placement(CPU, 1, group.resources)
    greedy = replace(group, resources=(Resource(name="R", count=3),))
    with pytest.raises(ResourceShort, match=r'"R" is limited to 2 .* minimum required count is 3'):
        loaded(limited, shelf.offer(shelf.put(), config=config(instance_groups=(greedy,))))


def test_groups_on_one_device_that_need_other_resources_share_its_session(shelf, loader):
    groups = (
        InstanceGroup(kind=InstanceKind.CPU, count=1, rate_limiter_priority=2),
        InstanceGroup(kind=InstanceKind.CPU, count=2),
    )
    opened = loaded(loader, shelf.offer(shelf.put(), config=config(instance_groups=groups)))
    assert opened.placements == (Placement(CPU, 1, (), 2), Placement(CPU, 2))
    assert opened.sessions.keys() == {CPU}


def test_a_golden_example_that_cannot_be_read_is_named(shelf, loader):
    with pytest.raises(InvalidRequest, match="golden example 'odd': input 'x'"):
        loaded(loader, shelf.offer(with_example(shelf.put(), "odd", ["one", "two"])))


def test_no_sentence_names_a_path_of_this_machine(shelf, loader, tmp_path):
    for content in ({"model": b"none"}, {"pre_py": "import nowhere"}, {"post_py": "1/0"}):
        with pytest.raises(ModelBroken) as caught:
            loaded(loader, shelf.offer(shelf.put(**content)))
        assert str(tmp_path) not in str(caught.value)
