"""Padding and splitting as an operator asks for them in `parameters`, and what is refused of it."""

import json

import pytest

from server.domain.padding import Padding, TensorDim
from server.repository.configuration import read_json, read_text
from server.repository.invalid import ConfigInvalid


def config(text: str = "max_batch_size: 8", **parameters: str):
    """What is read of a configuration; `pad_buckets` stands for `tercet.pad_buckets`."""
    lines = [
        f'parameters {{ key: "tercet.{key}" value: {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    ]
    return read_text("\n".join([text, *lines]).encode(), "m", "m/config.pbtxt").config


def test_nothing_is_padded_or_split_unless_asked_for():
    plain = config()
    assert (plain.padding, plain.pad_rows_to, plain.split_pieces) == (None, (), 0)


def test_every_parameter_has_its_place_in_the_configuration():
    asked = config(
        pad_buckets="16, 32,64",
        pad_value="-1.5",
        pad_inputs="ids, image[1]",
        pad_outputs="scores[0],scores[1]",
        pad_mask_input="mask",
        pad_length_input="lengths",
        pad_rows_to="1,2,4,8",
        split_requests="true",
        split_max_pieces="10",
    )
    assert asked.padding == Padding(
        buckets=(16, 32, 64),
        value="-1.5",
        inputs=(TensorDim("ids"), TensorDim("image", 1)),
        outputs=(TensorDim("scores", 0), TensorDim("scores", 1)),
        mask_input="mask",
        length_input="lengths",
    )
    assert (asked.pad_rows_to, asked.split_pieces) == ((1, 2, 4, 8), 10)
    assert asked.parameters["tercet.pad_buckets"] == "16, 32,64", "clients read what the operator wrote"


def test_outputs_that_are_named_as_none_are_told_from_those_that_are_not_named():
    assert config(pad_buckets="16").padding.outputs is None
    assert config(pad_buckets="16", pad_outputs="").padding.outputs == ()


def test_a_name_may_end_in_what_looks_like_a_place_with_a_colon():
    assert config(pad_buckets="16", pad_inputs="ids:0").padding.inputs == (TensorDim("ids:0"),)


def test_a_split_request_has_as_many_pieces_as_can_be_queued():
    queue = "max_batch_size: 8 dynamic_batching { default_queue_policy { max_queue_size: 5 } }"
    assert config(split_requests="true").split_pieces == 64
    assert config(queue, split_requests="true").split_pieces == 5
    assert config(queue, split_requests="false").split_pieces == 0


ASCEND = "must ascend"
NUMBERS = "must be whole numbers above 0"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"pad_buckets": "64,32"}, f"'tercet.pad_buckets' with the value '64,32', which {ASCEND}"),
        ({"pad_buckets": "16,16"}, ASCEND),
        ({"pad_buckets": ""}, NUMBERS),
        ({"pad_buckets": "0,8"}, NUMBERS),
        ({"pad_buckets": "8,x"}, NUMBERS),
        ({"pad_rows_to": "4,2"}, ASCEND),
        ({"pad_rows_to": "4,16"}, "has 'tercet.pad_rows_to' with 16 rows, but max_batch_size is 8"),
        ({"pad_mask_input": "mask"}, "has 'tercet.pad_mask_input', which needs 'tercet.pad_buckets'"),
        ({"pad_buckets": "8", "pad_inputs": " "}, "must name an input"),
        ({"pad_buckets": "8", "pad_inputs": "a,,b"}, "must be names of tensors"),
        ({"pad_buckets": "8", "pad_inputs": "a[0],a[1]"}, "names an input twice"),
        ({"pad_buckets": "8", "pad_outputs": "a,a"}, "names the same dimension twice"),
        ({"pad_buckets": "8", "pad_mask_input": ""}, "must be the name of an input"),
        ({"pad_buckets": "8", "pad_mask_input": "a", "pad_length_input": "a"}, "which are two inputs"),
        ({"split_requests": "yes"}, "must be true or false"),
        ({"split_max_pieces": "4"}, "needs 'tercet.split_requests' with the value 'true'"),
        ({"split_requests": "true", "split_max_pieces": "1"}, "must be a whole number from 2 to"),
        ({"pad_bucket": "8"}, "none of ours; did you mean 'tercet.pad_buckets'?"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_that_names_the_parameter(parameters, sentence):
    with pytest.raises(ConfigInvalid) as caught:
        config(**parameters)
    assert caught.value.field == "parameters"
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("m/config.pbtxt:2:1: parameters: has '"), "place first"


@pytest.mark.parametrize("key", ["pad_rows_to", "split_requests"])
def test_rows_need_a_batch_dimension(key):
    parameters = {key: "true" if key == "split_requests" else "2,4"}
    with pytest.raises(ConfigInvalid, match=f"'tercet.{key}', which needs max_batch_size above 0"):
        config("max_batch_size: 0", **parameters)
    config("", **parameters)  # the model file will tell


def test_more_pieces_than_can_be_queued_are_refused_where_they_are_written():
    queue = "max_batch_size: 8 dynamic_batching { default_queue_policy { max_queue_size: 5 } }"
    with pytest.raises(ConfigInvalid, match=r"'tercet.split_max_pieces' with 6, but max_queue_size is 5"):
        config(queue, split_requests="true", split_max_pieces="6")
    with pytest.raises(ConfigInvalid, match="max_queue_size is 5"):
        config(queue.removeprefix("max_batch_size: 8"), split_requests="true", split_max_pieces="6")


def test_the_json_of_a_load_request_is_held_to_the_same_rules():
    text = json.dumps({"parameters": {"tercet.pad_buckets": {"string_value": "9,8"}}})
    with pytest.raises(ConfigInvalid, match=ASCEND):
        read_json(text, "m")
