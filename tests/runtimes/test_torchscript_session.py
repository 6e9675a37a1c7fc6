"""What is particular to TorchScript: signatures, names, and modules that write in place."""

import numpy as np
import pytest
import torch

from runtimes.errors import ModelBroken, RunFailed, SignatureUnknown
from runtimes.opening import open_session
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
from tests.runtimes.models import Mlp, SumAndDifference, script, some_rows, torch_identity

ONE, TWO = np.full((1, 3), 5, np.float32), np.full((1, 3), 2, np.float32)


class ByName(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": a + b, "difference": a - b}


class OfDict(torch.nn.Module):
    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        return tensors["left"] - tensors["right"]


class WithDefaults(torch.nn.Module):
    def forward(self, x: torch.Tensor, times: int = 3, more: torch.Tensor | None = None) -> torch.Tensor:
        return x * times if more is None else x * times + more


class Overwriting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1)


class Mean(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return x + 1


class OfList(torch.nn.Module):
    def forward(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        return tensors[0]


class Complex(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x, x)


def specs(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "FP32", (-1, 3)) for name in names)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a", "b"), ("INPUT__0", "INPUT__1"), ("left", "right")],
    ids=["by the argument's name", "by number", "in the order declared"],
)
def test_inputs_meet_arguments(first, second, tmp_path):
    model = ModelFile(
        path=script(tmp_path, SumAndDifference()), inputs=specs(first, second), outputs=specs("s", "d")
    )
    assert open_session(model).run({first: ONE, second: TWO}, ["d"])["d"].tolist() == [[3, 3, 3]]


@pytest.mark.parametrize("names", [("b", "a"), ("IN__1", "IN__0")])
def test_names_count_and_not_the_order_declared(names, tmp_path):
    model = ModelFile(
        path=script(tmp_path, SumAndDifference()), inputs=specs(*names), outputs=specs("s", "d")
    )
    sent = dict(zip(names, (TWO, ONE), strict=True))
    assert open_session(model).run(sent, ["d"])["d"].tolist() == [[3, 3, 3]]


def test_outputs_may_be_numbered_in_any_order(tmp_path):
    model = ModelFile(
        path=script(tmp_path, SumAndDifference()), inputs=specs("a", "b"), outputs=specs("OUT__1", "OUT__0")
    )
    results = open_session(model).run({"a": ONE, "b": TWO}, ["OUT__0", "OUT__1"])
    assert (results["OUT__0"][0, 0], results["OUT__1"][0, 0]) == (7, 3)


def test_a_returned_dict_names_its_outputs(tmp_path):
    model = ModelFile(path=script(tmp_path, ByName()), samples={"a": ONE, "b": TWO})
    session = open_session(model)
    assert {spec.name for spec in session.description.outputs} == {"sum", "difference"}
    assert session.run({"a": ONE, "b": TWO}, ["difference"])["difference"].tolist() == [[3, 3, 3]]


def test_a_dict_of_tensors_is_filled_by_its_keys(tmp_path):
    model = ModelFile(path=script(tmp_path, OfDict()), samples={"right": TWO, "left": ONE})
    session = open_session(model)
    assert session.run({"left": ONE, "right": TWO}, ["OUTPUT__0"])["OUTPUT__0"].tolist() == [[3, 3, 3]]


def test_arguments_with_defaults_may_be_left_out_or_given(tmp_path):
    path = script(tmp_path, WithDefaults())
    assert open_session(ModelFile(path=path, samples={"x": TWO})).run({"x": TWO}, ["OUTPUT__0"])[
        "OUTPUT__0"
    ].tolist() == [[6, 6, 6]]
    both = {"x": TWO, "more": ONE}
    assert open_session(ModelFile(path=path, samples=both)).run(both, ["OUTPUT__0"])[
        "OUTPUT__0"
    ].tolist() == [[11, 11, 11]]


def test_an_input_that_fits_no_argument_is_named(tmp_path):
    path = script(tmp_path, SumAndDifference())
    with pytest.raises(ModelBroken, match="'bb' fits none"):
        open_session(ModelFile(path=path, inputs=specs("a", "bb"), outputs=specs("s")))
    with pytest.raises(ModelBroken, match=r"takes 'a', 'b'.*'only' do not fit"):
        open_session(ModelFile(path=path, inputs=specs("only"), outputs=specs("s")))


def test_a_sample_shows_shapes_datatypes_and_that_rows_follow(tmp_path):
    description = open_session(
        ModelFile(path=script(tmp_path, Mlp()), samples={"x": some_rows(1)})
    ).description
    assert description.inputs == (TensorSpec("x", "FP32", (-1, 64)),)
    assert description.outputs == (TensorSpec("OUTPUT__0", "FP32", (-1, 10)),)
    assert description.batches


def test_a_model_whose_rows_do_not_follow_is_described_as_the_sample_is(tmp_path):
    description = open_session(ModelFile(path=script(tmp_path, Mean()), samples={"x": ONE})).description
    assert description.inputs[0].shape == (1, 3)
    assert description.outputs[0].shape == ()
    assert not description.batches


def test_declared_inputs_alone_are_enough_where_zeros_can_be_run(tmp_path):
    model = ModelFile(path=script(tmp_path, Mlp()), inputs=(TensorSpec("x", "FP32", (-1, 64)),))
    assert open_session(model).description.outputs == (TensorSpec("OUTPUT__0", "FP32", (-1, 10)),)


def test_where_nothing_is_known_the_configuration_to_write_is_shown_with_the_arguments_names(tmp_path):
    with pytest.raises(SignatureUnknown) as unknown:
        open_session(ModelFile(path=script(tmp_path, SumAndDifference())))
    said = str(unknown.value)
    for part in ("model.pt", "config.pbtxt", 'name: "a"', 'name: "b"', 'name: "OUTPUT__1"', "examples/"):
        assert part in said


def test_a_sample_that_the_model_refuses_is_told_with_the_models_own_sentence(tmp_path):
    with pytest.raises(ModelBroken, match="failed on its example: mat1 and mat2 shapes cannot be multiplied"):
        open_session(ModelFile(path=script(tmp_path, Mlp()), samples={"x": ONE}))


def test_strings_are_refused_with_the_way_round_them(tmp_path):
    with pytest.raises(ModelBroken, match=r"TorchScript has no tensors of strings.*pre\.py"):
        open_session(torch_identity(tmp_path, "BYTES"))


def test_weights_without_a_program_are_refused_with_how_to_save_one(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ModelBroken, match=r"torch\.jit\.script"):
        open_session(ModelFile(path=tmp_path / "model.pt"))


def test_arguments_that_are_no_tensors_are_refused(tmp_path):
    with pytest.raises(ModelBroken, match=r"'tensors'.*List\[Tensor\]"):
        open_session(ModelFile(path=script(tmp_path, OfList()), inputs=specs("x"), outputs=specs("y")))


def test_a_module_that_writes_over_its_input_leaves_ours_alone(tmp_path):
    session = open_session(ModelFile(path=script(tmp_path, Overwriting()), samples={"x": ONE}))
    sent = np.zeros((2, 3), np.float32)
    assert session.run({"x": sent}, ["OUTPUT__0"])["OUTPUT__0"].tolist() == [[1, 1, 1]] * 2
    assert not sent.any()


def test_a_module_that_cannot_be_frozen_still_runs(tmp_path):
    session = open_session(ModelFile(path=script(tmp_path, Counting()), samples={"x": ONE}))
    assert session.run({"x": ONE}, ["OUTPUT__0"])["OUTPUT__0"].tolist() == [[6, 6, 6]]


def test_an_output_that_the_protocol_cannot_carry_is_refused_when_the_model_is_opened(tmp_path):
    with pytest.raises(ModelBroken, match="complex64"):
        open_session(ModelFile(path=script(tmp_path, Complex()), samples={"x": ONE}))


def test_an_output_that_the_model_does_not_return_is_named(tmp_path):
    model = ModelFile(
        path=script(tmp_path, ByName()), inputs=specs("a", "b"), outputs=specs("sum", "quotient")
    )
    session = open_session(model)
    with pytest.raises(RunFailed, match=r"'sum'.*quotient"):
        session.run({"a": ONE, "b": TWO}, ["quotient"])
