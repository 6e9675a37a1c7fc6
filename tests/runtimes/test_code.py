"""A version's own code: how it is opened, what it may return, and whose fault each failure is."""

import gc
import stat
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from runtimes.code import Code, Context, Request, as_tensor, open_post, open_pre
from runtimes.errors import InputRefused, ModelBroken, RunFailed
from runtimes.tensors import TensorSpec


def context(folder: Path, **parameters: str) -> Context:
    return Context(model="digits", version=1, directory=folder, parameters=parameters)


def pre(folder: Path, source: str, **parameters: str) -> Code:
    path = folder / "pre.py"
    path.write_text(source)
    return open_pre(path, context(folder, **parameters))


def test_preprocess_turns_named_arrays_into_named_arrays(tmp_path):
    code = pre(tmp_path, "def preprocess(inputs):\n    return {'y': inputs['x'] * 2}\n")
    assert code.run({"x": np.array([1.5, 2], np.float32)})["y"].tolist() == [3, 4]
    assert code.contract is None


def test_postprocess_of_post_py_is_called(tmp_path):
    (tmp_path / "post.py").write_text(
        "OUTPUTS = [{'name': 'label', 'datatype': 'BYTES', 'shape': [-1, 1]}]\n"
        "def postprocess(outputs):\n    return {'label': [['seven']]}\n"
    )
    code = open_post(tmp_path / "post.py", context(tmp_path))
    assert code.contract == (TensorSpec("label", "BYTES", (-1, 1)),)
    assert code.run({})["label"].tolist() == [[b"seven"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("inputs", False),
        ("inputs, unit='cm'", False),
        ("*arrays", False),
        ("inputs, **more", False),
        ("inputs, request", True),
        ("inputs, asked", True),
        ("inputs, request=None", True),
        ("inputs, request, unit='cm'", True),
    ],
)
def test_a_function_is_told_of_the_request_where_it_takes_one(tmp_path, arguments, told):
    source = f"def preprocess({arguments}):\n    return {{'id': [str(locals().get('request') or '')]}}\n"
    code = pre(tmp_path, source)
    assert code.takes_request is told
    code.run({}, Request(id="7"))


def test_what_it_is_told_are_the_id_the_parameters_and_the_priority(tmp_path):
    code = pre(
        tmp_path,
        "def preprocess(inputs, request):\n"
        "    return {'told': [request.id, request.parameters['unit'], str(request.priority)]}\n",
    )
    asked = Request(id="7", parameters={"unit": "cm"}, priority=2)
    assert code.run({}, asked)["told"].tolist() == [b"7", b"cm", b"2"]
    with pytest.raises(FrozenInstanceError):
        asked.id = "8"


def test_a_function_that_does_not_say_what_it_takes_is_given_the_arrays_alone(tmp_path):
    assert pre(tmp_path, "preprocess = dict\n").run({"x": np.ones(1)})["x"].tolist() == [1]


def test_setup_is_called_once_with_the_context(tmp_path):
    (tmp_path / "labels.txt").write_text("a b c")
    code = pre(
        tmp_path,
        "labels = []\n"
        "def setup(context):\n"
        "    labels.extend((context.directory / 'labels.txt').read_text().split())\n"
        "    labels.append(context.parameters['last'] + context.model + str(context.version))\n"
        "def preprocess(inputs):\n    return {'labels': labels}\n",
        last="z",
    )
    code.run({})
    assert code.run({})["labels"].tolist() == [b"a", b"b", b"c", b"zdigits1"]


def test_the_context_cannot_be_changed(tmp_path):
    with pytest.raises(FrozenInstanceError):
        context(tmp_path).model = "other"


def test_the_callers_dict_is_not_the_codes_to_change(tmp_path):
    inputs = {"x": np.zeros(1)}
    pre(tmp_path, "def preprocess(inputs):\n    inputs.clear()\n    return {}\n").run(inputs)
    assert list(inputs) == ["x"]


def test_two_versions_with_the_same_file_name_do_not_see_each_other(tmp_path):
    codes = []
    for version in (1, 2):
        folder = tmp_path / str(version)
        folder.mkdir()
        codes.append(pre(folder, f"V = {version}\ndef preprocess(inputs):\n    return {{'v': V}}\n"))
    assert [code.run({})["v"].item() for code in codes] == [1, 2]
    assert "pre" not in sys.modules


def test_opening_and_closing_leaves_no_module_behind_even_where_it_fails(tmp_path):
    before = set(sys.modules)
    pre(tmp_path, "def preprocess(inputs):\n    return {}\n").close()
    with pytest.raises(ModelBroken):
        pre(tmp_path, "1/0")
    assert set(sys.modules) == before


def test_dataclasses_work_in_a_models_code(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport typing\n"
        "@dataclass\nclass Box:\n    size: int\n"
        "typing.get_type_hints(Box)\n"
        "def preprocess(inputs):\n    return {'size': Box(3).size}\n"
    )
    assert pre(tmp_path, source).run({})["size"].item() == 3


def test_the_repository_may_be_read_only_and_no_bytecode_is_written(tmp_path):
    (tmp_path / "pre.py").write_text("def preprocess(inputs):\n    return {}\n")
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        open_pre(tmp_path / "pre.py", context(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["pre.py"]
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_value_error_refuses_the_request_in_its_own_words(tmp_path):
    code = pre(tmp_path, "def preprocess(inputs):\n    raise ValueError('row 0 is not a PNG')\n")
    with pytest.raises(InputRefused) as refusal:
        code.run({})
    assert str(refusal.value) == "row 0 is not a PNG"


def test_any_other_exception_is_the_codes_and_keeps_its_cause(tmp_path):
    code = pre(tmp_path, "def preprocess(inputs):\n    return inputs['none']\n")
    with pytest.raises(RunFailed, match="preprocess raised KeyError: 'none'") as failure:
        code.run({})
    assert isinstance(failure.value.__cause__, KeyError)


def test_code_that_calls_exit_fails_its_request_and_not_the_server(tmp_path):
    code = pre(tmp_path, "import sys\ndef preprocess(inputs):\n    sys.exit(1)\n")
    with pytest.raises(RunFailed, match="SystemExit: 1"):
        code.run({})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\nimport no_such_package\n", r"pre\.py line 2: ModuleNotFoundError: .*no_such_package"),
        ("def preprocess(inputs:\n", r"pre\.py line 1: SyntaxError"),
        (
            "def preprocess(inputs): ...\n\ndef setup(context):\n    1 / 0\n",
            r"pre\.py line 4: ZeroDivisionError",
        ),
        ("import sys\nsys.exit(3)\n", r"pre\.py line 2: SystemExit: 3"),
        ("x = 1\n", r"pre\.py has no function preprocess"),
        (
            "\ndef preprocess(): ...\n",
            r"pre\.py line 2: preprocess\(\) is to take the arrays, or the arrays and the request",
        ),
        ("def preprocess(a, b, c): ...\n", r"pre\.py line 1: preprocess\(a, b, c\) is to take"),
        ("def preprocess(inputs, *, request): ...\n", r"preprocess\(inputs, \*, request\) is to take"),
        ("INPUTS = 5\ndef preprocess(inputs): ...\n", r"INPUTS in pre\.py is a int, not a list"),
        (
            "INPUTS = [{'name': 'x'}]\ndef preprocess(inputs): ...\n",
            r"INPUTS\[0\] in pre\.py is to have a name",
        ),
        (
            "INPUTS = [{'name': 'x', 'datatype': 'float', 'shape': [1]}]\ndef preprocess(inputs): ...\n",
            r"INPUTS\[0\] in pre\.py has the datatype 'float'; there are BOOL",
        ),
        (
            "INPUTS = [{'name': 'x', 'datatype': 'FP32', 'shape': [-2]}]\ndef preprocess(inputs): ...\n",
            r"has the shape \[-2\]",
        ),
    ],
)
def test_code_that_cannot_be_opened_is_told_by_file_and_line(tmp_path, source, says):
    with pytest.raises(ModelBroken, match=says):
        pre(tmp_path, source)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "returned a NoneType, not a dict"),
        ("[1]", "returned a list, not a dict"),
        ("{1: 2}", "the key 1, which is not a name"),
        ("{'x': 1j}", "returned 'x' as complex128, which no datatype"),
        ("{'x': None}", "returned 'x' as objects with a NoneType among them"),
        ("{'x': [[1], [1, 2]]}", "returned 'x' as a nested list whose rows differ"),
        ("{'x': {'y': 1}}", "returned 'x' as objects with a dict among them"),
    ],
)
def test_a_result_that_is_no_dict_of_tensors_is_the_codes_fault(tmp_path, returned, says):
    code = pre(tmp_path, f"def preprocess(inputs):\n    return {returned}\n")
    with pytest.raises(RunFailed, match=says):
        code.run({})


@pytest.mark.parametrize(
    ("value", "dtype", "content"),
    [
        (np.float32(2.5), np.float32, 2.5),
        ([1, 2], np.int64, [1, 2]),
        ([[True], [False]], np.bool_, [[True], [False]]),
        (["é", "b"], object, ["é".encode(), b"b"]),
        ([b"a\0", b"b"], object, [b"a\0", b"b"]),
        (b"a\0", object, b"a\0"),
        (np.array(["x", "yy"]), object, [b"x", b"yy"]),
        (np.array(["x", b"y"], object), object, [b"x", b"y"]),
        (np.array([1, 2], ">i4"), np.int32, [1, 2]),
        (np.arange(6, dtype=np.int32).reshape(2, 3).T, np.int32, [[0, 3], [1, 4], [2, 5]]),
        (np.array(7, np.uint8), np.uint8, 7),
    ],
)
def test_what_code_returns_becomes_a_tensor(value, dtype, content):
    array = as_tensor(value)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.tolist() == content


def test_an_array_that_is_a_tensor_already_is_not_copied():
    array = np.ones((2, 3), np.float32)
    assert as_tensor(array) is array


def test_the_array_of_text_that_code_returned_is_left_as_it_was():
    array = np.array(["x"], object)
    as_tensor(array)
    assert array.tolist() == ["x"]


def test_what_closed_code_held_is_given_back_at_once(tmp_path):
    before = set(sys.modules)
    code = pre(tmp_path, "class Table: pass\ntable = Table()\ndef preprocess(inputs):\n    return {}\n")
    (name,) = set(sys.modules) - before
    table = weakref.ref(sys.modules[name].table)
    gc.disable()
    try:
        code.close()
        assert table() is None
    finally:
        gc.enable()


def test_a_run_that_outlives_the_closing_of_its_code_ends_as_it_would_have(tmp_path):
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    code = pre(
        tmp_path,
        "import pathlib, time\n"
        "def preprocess(inputs):\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        f"    while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.001)\n"
        "    return inputs\n",
    )
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(code.run, {"x": np.array([1])})
        while not begun.exists():
            time.sleep(0.001)
        code.close()
        gate.touch()
        assert running.result(10)["x"].tolist() == [1]
