"""Instances made and taken away while a version serves, and when that is all that a reload takes."""

from pathlib import Path

import pytest

from runtimes.device import CPU, Device
from runtimes.opening import open_session
from runtimes.session import ModelFile, Session
from server.domain.configuration import ModelConfig, Resource
from server.lifecycle.instances import Content, Instances, in_place
from server.lifecycle.placement import Placement
from tests.lifecycle.shelf import plus

GPU = Device("cuda", 0)
NEEDY = (Resource(name="R", count=2),)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    path = tmp_path / "model.onnx"
    path.write_bytes(plus(1))
    return open_session(ModelFile(path=path))


@pytest.fixture
def instances(session: Session) -> Instances:
    return Instances("m/1", {CPU: session, GPU: session}, ModelConfig(name="m", max_batch_size=4))


SERVES = Content("as it was:1", "the rest:1")


@pytest.mark.parametrize(
    ("offered", "wanted", "expected"),
    [
        (Content("as changed:1", "the rest:1"), [Placement(CPU, 3)], True),
        (Content("as changed:1", "the rest:1"), [Placement(CPU, 1, NEEDY), Placement(CPU, 2)], True),
        (Content("as changed:1", "the rest:1"), [Placement(GPU, 1)], False),
        (Content("as changed:1", "the rest:1"), [Placement(CPU, 1), Placement(GPU, 1)], False),
        (Content("as changed:1", "something else:1"), [Placement(CPU, 3)], False),
        (Content("as changed:1", "the rest:2"), [Placement(CPU, 3)], False),
        (Content("as changed:1"), [Placement(CPU, 3)], False),
    ],
)
def test_only_other_instances_on_the_same_devices_are_changed_in_place(offered, wanted, expected):
    assert in_place(SERVES, offered, {CPU}, wanted) is expected


def test_content_that_was_never_told_apart_is_loaded():
    assert not in_place(Content("a"), Content("b"), {CPU}, [Placement(CPU, 1)])


def test_more_instances_are_made_beside_those_that_there_are(instances):
    assert instances.place([Placement(CPU, 2)]) == []
    before = list(instances)
    assert instances.place([Placement(CPU, 4)]) == []
    assert list(instances)[:2] == before
    assert len(set(instances)) == 4


def test_fewer_instances_leave_the_first_and_give_back_the_others(instances):
    instances.place([Placement(CPU, 3), Placement(GPU, 1)])
    first, second, third, on_gpu = instances
    assert instances.place([Placement(CPU, 1), Placement(GPU, 1)]) == [second, third]
    assert list(instances) == [first, on_gpu]


def test_instances_with_other_needs_take_the_place_of_those_without(instances):
    instances.place([Placement(CPU, 2)])
    before = list(instances)
    assert instances.place([Placement(CPU, 2, NEEDY, 3)]) == before
    assert [(each.needs, each.priority) for each in instances] == [({("R", "cpu"): 2}, 3)] * 2
