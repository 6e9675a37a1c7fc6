"""What an operator wants padded, held against what the model takes."""

import numpy as np
import pytest

from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.padding import Padding, TensorDim
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.padding import pad_rule, with_made_inputs
from server.scheduling.padding import MadeInput, PaddedInput, PadRule

IDS = TensorConfig(name="ids", datatype="INT64", dims=(-1,))
MASK = TensorConfig(name="mask", datatype="INT32", dims=(-1,))
COUNT = TensorConfig(name="count", datatype="INT32", dims=(1,))
IMAGE = TensorConfig(name="image", datatype="FP32", dims=(3, -1, -1))
FIXED = TensorConfig(name="fixed", datatype="FP32", dims=(2,))
SAID = TensorConfig(name="said", datatype="BYTES", dims=(-1,))
WORDS = TensorConfig(name="words", datatype="FP32", dims=(-1, 4))
SCORES = TensorConfig(name="scores", datatype="FP32", dims=(-1, -1))
MEAN = TensorConfig(name="mean", datatype="FP32", dims=(4,))
BEHIND = TensorConfig(name="behind", datatype="FP32", dims=(4, -1))


def rule_of(*inputs: TensorConfig, gives=(WORDS,), rows: int = 8, **padding) -> PadRule:
    """Of a model that takes `inputs` and `gives` outputs; `padding` is what the operator asks for."""
    config = ModelConfig(
        name="m",
        max_batch_size=rows,
        inputs=inputs,
        outputs=gives,
        padding=Padding(buckets=(4, 8), **padding),
    )
    rule = pad_rule(config, 1)
    assert rule is not None
    return rule


def test_a_model_without_buckets_has_no_rule():
    assert pad_rule(ModelConfig(name="m", max_batch_size=8, inputs=(IDS,), outputs=(WORDS,)), 1) is None


def test_every_input_with_one_variable_dimension_is_padded_and_the_mask_with_0():
    rule = rule_of(IDS, MASK, FIXED, COUNT, value="7", mask_input="mask", length_input="count")
    assert rule.inputs == {"ids": PaddedInput(1, 7), "mask": PaddedInput(1, 0)}
    assert rule.mask == MadeInput("mask", np.dtype(np.int32), (-1,))
    assert rule.length == MadeInput("count", np.dtype(np.int32), (1,))


def test_without_a_batch_dimension_the_first_axis_is_the_first_of_dims():
    assert rule_of(IDS, rows=0).inputs["ids"].axis == 0


def test_outputs_are_cut_where_they_vary_as_the_inputs_do():
    rule = rule_of(IDS, gives=(WORDS, SCORES, MEAN, BEHIND))
    assert (rule.outputs, rule.certain) == ({"words": (1,), "scores": (1,)}, False)


def test_outputs_that_are_named_are_cut_and_no_others():
    named = (TensorDim("scores", 0), TensorDim("scores", 1), TensorDim("behind"))
    rule = rule_of(IDS, gives=(WORDS, SCORES, MEAN, BEHIND), outputs=named)
    assert (rule.outputs, rule.certain) == ({"scores": (1, 2), "behind": (2,)}, True)
    assert rule_of(IDS, outputs=()).outputs == {}


def test_of_two_variable_dimensions_the_named_one_is_padded():
    rule = rule_of(IMAGE, inputs=(TensorDim("image", 2),))
    assert rule.inputs == {"image": PaddedInput(3, 0)}


@pytest.mark.parametrize(
    ("datatype", "value", "fill"),
    [("FP32", "", 0.0), ("FP16", "-inf", float("-inf")), ("BOOL", "1", True), ("BF16", "2", 2.0)],
)
def test_the_value_has_the_inputs_own_type(datatype, value, fill):
    rule = rule_of(TensorConfig(name="x", datatype=datatype, dims=(-1,)), value=value)
    assert rule.inputs["x"].fill == fill


def test_bytes_are_padded_with_the_text_of_the_value():
    assert rule_of(SAID).inputs["said"].fill == b""
    assert rule_of(SAID, value="[PAD]").inputs["said"].fill == b"[PAD]"


@pytest.mark.parametrize(
    ("inputs", "padding", "sentence"),
    [
        ((FIXED,), {}, "is for inputs with a variable dimension"),
        ((IDS, IMAGE), {}, r"'image' has dims \[3, -1, -1\], of which 2 vary.* such as image\[1\]"),
        ((IDS,), {"inputs": (TensorDim("words"),)}, "tercet.pad_inputs names the input 'words', but the"),
        ((IDS, FIXED), {"inputs": (TensorDim("fixed"),)}, "names 'fixed', whose dims .* do not vary"),
        ((IMAGE,), {"inputs": (TensorDim("image", 0),)}, r"names image\[0\], which is not among"),
        ((IDS,), {"mask_input": "mask"}, "tercet.pad_mask_input names the input 'mask', but the model has"),
        ((IDS, FIXED), {"mask_input": "fixed"}, "but a mask is of numbers or BOOL and has one variable"),
        ((IDS, SAID), {"mask_input": "said"}, "'said', which is BYTES"),
        ((IDS, MASK), {"length_input": "mask"}, "but a length is a number and has no variable dimension"),
        ((IDS, MASK), {"mask_input": "mask", "inputs": (TensorDim("mask"),)}, "cannot be both"),
        ((IDS,), {"outputs": (TensorDim("mean"),)}, "tercet.pad_outputs names the output 'mean', but the"),
        ((IDS,), {"value": "0.5"}, "tercet.pad_value is '0.5', which is no INT64, as input 'ids' is"),
        ((MASK,), {"value": "1e30"}, "which is no INT32"),
        ((IDS,), {"value": "nan"}, "which is no INT64"),
        ((IDS,), {"value": "zero"}, "which is no INT64"),
    ],
)
def test_what_the_model_does_not_have_is_refused_in_a_sentence(inputs, padding, sentence):
    with pytest.raises(ConfigContradicts, match=sentence):
        rule_of(*inputs, **padding)


def test_the_mask_and_the_length_are_inputs_that_clients_may_leave_out():
    padding = Padding(buckets=(4,), mask_input="mask", length_input="count")
    config = ModelConfig(name="m", max_batch_size=8, inputs=(IDS, MASK, COUNT), padding=padding)
    assert [each.optional for each in with_made_inputs(config).inputs] == [False, True, True]
    plain = ModelConfig(name="m", max_batch_size=8, inputs=(IDS, MASK, COUNT))
    assert with_made_inputs(plain) == plain


@pytest.mark.parametrize(
    ("asked", "rows", "sentence"),
    [
        ({"pad_rows_to": (2, 4)}, 0, "tercet.pad_rows_to needs max_batch_size above 0"),
        ({"split_pieces": 2}, 0, "tercet.split_requests needs max_batch_size above 0"),
        ({"pad_rows_to": (2, 16)}, 8, "tercet.pad_rows_to has 16 rows, but max_batch_size is 8"),
    ],
)
def test_row_counts_are_held_against_the_batches_that_the_model_file_allows(asked, rows, sentence):
    with pytest.raises(ConfigContradicts, match=sentence):
        with_made_inputs(ModelConfig(name="m", max_batch_size=rows, **asked))
