"""Golden examples."""

from typing import Any

import numpy as np
import orjson
import pytest

from server.domain.errors import InvalidRequest
from server.wire import golden

INPUT = {"name": "X", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2.5]]}
OUTPUT = {"name": "Y", "shape": [1], "datatype": "BYTES", "data": ["cat"]}
GOOD = {"request": {"inputs": [INPUT]}, "response": {"outputs": [OUTPUT]}, "tolerance": 0.01}


def test_an_example_is_a_request_its_answer_and_a_tolerance():
    example = golden.read(orjson.dumps(GOOD), "one")
    assert example.name == "one"
    assert example.inputs["X"].tolist() == [[1, 2.5]]
    assert example.inputs["X"].dtype == np.float32
    assert example.outputs["Y"].tolist() == [b"cat"]
    assert example.tolerance == 0.01


def test_an_example_may_have_parameters_for_the_model():
    request = {**GOOD["request"], "parameters": {"unit": "cm", "timeout": 5}}
    assert golden.read(orjson.dumps({**GOOD, "request": request}), "one").parameters == {"unit": "cm"}


def test_half_floats_may_be_written_as_numbers():
    tensor = {"name": "X", "shape": [2], "datatype": "FP16", "data": [1, 0.5]}
    example = golden.read(orjson.dumps({**GOOD, "request": {"inputs": [tensor]}}), "half")
    assert example.inputs["X"].dtype == np.float16


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "'request' must be an object with a list of 'inputs'"),
        ({**GOOD, "request": {}}, "'request' must be an object with a list of 'inputs'"),
        ({**GOOD, "response": {"outputs": []}}, "'response' must be an object with a list of 'outputs'"),
        ({**GOOD, "response": {"outputs": [{**OUTPUT, "data": [5]}]}}, "output 'Y' is BYTES"),
        ({**GOOD, "tolerance": "tight"}, "'tolerance' must be a number"),
        ({**GOOD, "tolerance": -1}, "'tolerance' must be a number"),
        ({**GOOD, "tolerance": {"z": 1}}, "'tolerance' names the output 'z', which the response has not"),
        ({**GOOD, "tolerance": {OUTPUT["name"]: "tight"}}, "must be a number from 0 on"),
    ],
)
def test_a_wrong_example_is_named(document: Any, says: str):
    with pytest.raises(InvalidRequest, match=f"golden example 'one': .*{says}"):
        golden.read(orjson.dumps(document), "one")


def test_an_output_may_have_a_tolerance_of_its_own():
    name = OUTPUT["name"]
    example = golden.read(orjson.dumps({**GOOD, "tolerance": {name: 0.5}}), "e")
    assert (example.tolerance_of(name), example.tolerance_of("another")) == (0.5, golden.DEFAULT_TOLERANCE)
    assert golden.read(orjson.dumps(GOOD), "e").tolerance_of(name) == 0.01


def test_an_example_that_is_made_is_one_that_can_be_read():
    inputs = {"x": np.array([[1.5, 2]], np.float32), "t": np.array([[b"a"]], object)}
    outputs = {"y": np.array([[True, False]]), "z": np.array([[7]])}
    example = golden.read(orjson.dumps(golden.example_of(inputs, outputs)), "made")
    for given, found in ((inputs, example.inputs), (outputs, example.outputs)):
        assert given.keys() == found.keys()
        for name in given:
            assert found[name].dtype == given[name].dtype
            np.testing.assert_array_equal(found[name], given[name])


def test_a_large_example_is_not_made():
    assert golden.example_of({"x": np.zeros(9_999)}, {"y": np.zeros(2)}) is None
