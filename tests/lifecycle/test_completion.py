"""What is filled in from a model file, and what is held against it."""

import pytest

from runtimes.session import Description
from runtimes.tensors import TensorSpec
from server.domain.configuration import (
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    Platform,
    TensorConfig,
)
from server.lifecycle.completion import ConfigContradicts, complete

ROWS = Description(
    (TensorSpec("x", "FP32", (-1, 4)),),
    (TensorSpec("label", "INT64", (-1,)), TensorSpec("y", "FP32", (-1, 3))),
    batches=True,
)
WHOLE = Description((TensorSpec("x", "FP32", (2, 4)),), (TensorSpec("y", "FP32", (2,)),), batches=False)


def completed(description: Description, **config) -> ModelConfig:
    return complete(ModelConfig(name="m", **config), description, Platform.ONNX)


def test_a_model_whose_tensors_all_have_a_variable_first_dimension_batches_four_rows_dynamically():
    config = completed(ROWS)
    assert (config.max_batch_size, config.dynamic_batching) == (4, DynamicBatching())


def test_any_other_model_does_not_batch():
    config = completed(WHOLE)
    assert (config.max_batch_size, config.dynamic_batching) == (0, None)


def test_who_says_how_many_rows_says_also_whether_they_are_batched():
    assert completed(ROWS, max_batch_size=16).dynamic_batching is None
    asked = DynamicBatching(preferred_batch_size=(8,))
    assert completed(ROWS, max_batch_size=16, dynamic_batching=asked).dynamic_batching == asked
    assert completed(ROWS, max_batch_size=0).max_batch_size == 0


def test_a_dynamic_batcher_is_kept_as_configured_when_the_rows_are_filled_in():
    asked = DynamicBatching(max_queue_delay_microseconds=100)
    config = completed(ROWS, dynamic_batching=asked)
    assert (config.max_batch_size, config.dynamic_batching) == (4, asked)


def test_rows_cannot_be_asked_of_a_model_without_a_batch_dimension():
    with pytest.raises(ConfigContradicts, match=r"max_batch_size is 8.*set max_batch_size to 0"):
        completed(WHOLE, max_batch_size=8)


def test_tensors_are_filled_in_without_the_batch_dimension():
    config = completed(ROWS)
    assert config.inputs == (TensorConfig(name="x", datatype="FP32", dims=(4,)),)
    assert config.outputs[1] == TensorConfig(name="y", datatype="FP32", dims=(3,))


def test_one_value_a_row_is_shown_to_clients_as_a_row_of_one():
    label = completed(ROWS).outputs[0]
    assert label == TensorConfig(name="label", datatype="INT64", dims=(1,), reshape=())


def test_tensors_of_a_model_that_does_not_batch_are_filled_in_whole():
    assert completed(WHOLE).inputs == (TensorConfig(name="x", datatype="FP32", dims=(2, 4)),)
    assert completed(ROWS, max_batch_size=0).inputs[0].dims == (-1, 4)


def test_what_is_declared_stays_as_it_is_and_first_and_the_rest_follows():
    declared = TensorConfig(name="y", datatype="FP32", dims=(3,), label_filename="names.txt")
    config = completed(ROWS, outputs=(declared,))
    assert config.outputs[0] is declared
    assert [tensor.name for tensor in config.outputs] == ["y", "label"]


def test_a_declared_dimension_may_be_variable_where_the_file_has_a_size_and_the_other_way_round():
    loose = TensorConfig(name="x", datatype="FP32", dims=(-1,))
    assert completed(ROWS, inputs=(loose,)).inputs == (loose,)
    open_file = Description((TensorSpec("x", "FP32", (-1, -1)),), (TensorSpec("y", "FP32", (-1, 3)),), True)
    strict = TensorConfig(name="x", datatype="FP32", dims=(4,))
    assert completed(open_file, inputs=(strict,)).inputs == (strict,)


def test_a_reshape_is_held_against_the_file_in_place_of_the_dims():
    flat = TensorConfig(name="x", datatype="FP32", dims=(2, 2), reshape=(4,))
    assert completed(ROWS, inputs=(flat,)).inputs == (flat,)
    wrong = TensorConfig(name="x", datatype="FP32", dims=(4,), reshape=(2, 2))
    with pytest.raises(ConfigContradicts, match=r"input 'x' is configured with shape \[-1, 2, 2\]"):
        completed(ROWS, inputs=(wrong,))


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (("z", "FP32", (4,)), "input 'z' is configured, but the model has 'x'"),
        (("x", "FP64", (4,)), "input 'x' is configured as FP64, but the model has FP32"),
        (("x", "FP32", (5,)), "input 'x' is configured with shape [-1, 5], but the model has [-1, 4]"),
        (("x", "FP32", (4, 1)), "input 'x' is configured with shape [-1, 4, 1], but the model has [-1, 4]"),
    ],
)
def test_a_contradiction_names_the_tensor_what_is_configured_and_what_the_file_has(declared, sentence):
    name, datatype, dims = declared
    with pytest.raises(ConfigContradicts) as caught:
        completed(ROWS, inputs=(TensorConfig(name=name, datatype=datatype, dims=dims),))
    assert str(caught.value) == sentence


def test_outputs_are_held_against_the_file_too():
    with pytest.raises(ConfigContradicts, match="output 'y' is configured as INT8"):
        completed(ROWS, outputs=(TensorConfig(name="y", datatype="INT8", dims=(3,)),))


def test_platform_backend_and_instances_are_filled_in():
    config = completed(ROWS)
    assert (config.platform, config.backend) == (Platform.ONNX, "onnxruntime")
    assert config.instance_groups == (InstanceGroup(),)
    two = (InstanceGroup(kind=InstanceKind.CPU, count=2),)
    assert completed(ROWS, instance_groups=two).instance_groups == two
