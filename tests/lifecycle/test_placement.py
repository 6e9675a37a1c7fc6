"""Where instances stand: pure, over devices that the test names."""

import pytest

from runtimes.device import CPU, Device
from runtimes.errors import DeviceMissing
from server.domain.configuration import InstanceGroup, InstanceKind, Platform
from server.lifecycle.placement import Placement, place

ONE, TWO = Device("cuda", 0), Device("cuda", 1)
AUTO = InstanceGroup()


def on(kind: str, count: int = 0, *gpus: int) -> InstanceGroup:
    return InstanceGroup(kind=InstanceKind(f"KIND_{kind}"), count=count, gpus=gpus)


def test_auto_is_one_instance_on_each_gpu_and_on_the_cpu_where_there_is_none():
    assert place([AUTO], Platform.ONNX, [ONE, TWO]) == (Placement(ONE, 1), Placement(TWO, 1))
    assert place([AUTO], Platform.TORCHSCRIPT, []) == (Placement(CPU, 1),)


def test_on_the_cpu_onnx_has_two_instances_unless_a_count_is_given():
    assert place([AUTO], Platform.ONNX, []) == (Placement(CPU, 2),)
    assert place([on("CPU")], Platform.ONNX, [ONE]) == (Placement(CPU, 2),)
    assert place([on("CPU", 1)], Platform.ONNX, []) == (Placement(CPU, 1),)
    assert place([on("CPU")], Platform.TORCHSCRIPT, []) == (Placement(CPU, 1),)


def test_gpus_are_all_of_them_or_those_that_are_named():
    assert place([on("GPU", 3)], Platform.ONNX, [ONE, TWO]) == (Placement(ONE, 3), Placement(TWO, 3))
    assert place([on("GPU", 1, 1)], Platform.ONNX, [ONE, TWO]) == (Placement(TWO, 1),)
    assert place([on("AUTO", 1, 0)], Platform.ONNX, [ONE, TWO]) == (Placement(ONE, 1),)


def test_groups_that_meet_on_a_device_add_up_and_keep_their_order():
    groups = [on("GPU", 1, 1), on("CPU", 1), on("GPU", 2)]
    assert place(groups, Platform.ONNX, [ONE, TWO]) == (
        Placement(TWO, 3),
        Placement(CPU, 1),
        Placement(ONE, 2),
    )


@pytest.mark.parametrize(
    ("group", "gpus", "sentence"),
    [
        (on("GPU"), [], "of kind KIND_GPU asks for a GPU; this machine has no CUDA device"),
        (on("GPU", 1, 0, 3), [ONE, TWO], "asks for cuda:3; this machine has cuda:0, cuda:1"),
        (on("AUTO", 1, 2), [], "of kind KIND_AUTO asks for cuda:2; this machine has no CUDA device"),
    ],
)
def test_a_device_that_is_not_there_is_named_with_those_that_are(group, gpus, sentence):
    with pytest.raises(DeviceMissing) as caught:
        place([group], Platform.ONNX, gpus)
    assert sentence in str(caught.value)
