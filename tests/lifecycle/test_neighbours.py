"""Whether the models of an ensemble fit together, judged over signatures alone."""

import pytest

from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.ensemble import Ensemble, Step
from server.domain.signature import Signature
from server.domain.tensors import TensorSpec
from server.lifecycle.neighbours import misfit

STEPS = (
    Step(model="a", inputs={"x": "X"}, outputs={"y": "mid"}),
    Step(model="b", inputs={"x": "mid"}, outputs={"y": "Y"}),
)


def config(*steps: Step, rows: int = 8, datatype: str = "FP32", dims: tuple[int, ...] = (2,)) -> ModelConfig:
    return ModelConfig(
        name="e",
        max_batch_size=rows,
        inputs=(TensorConfig(name="X", datatype=datatype, dims=dims),),
        outputs=(TensorConfig(name="Y", datatype="FP32", dims=dims),),
        ensemble=Ensemble(steps=steps or STEPS),
    )


def model(
    takes: tuple[int, ...] = (2,),
    gives: tuple[int, ...] = (2,),
    *,
    rows: int = 8,
    datatype: str = "FP32",
    more: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Signature:
    batch = (-1,) if rows else ()
    inputs = [TensorSpec(name, "FP32", (*batch, *takes)) for name in ("x", *more)]
    outputs = [TensorSpec("y", datatype, (*batch, *gives))]
    return Signature("m", inputs, outputs, rows, frozenset(optional))


FITS = {
    "alike": (config(), model(), model()),
    "a size that varies shows when a request comes": (config(), model((-1,), (-1,)), model()),
    "larger batches than the ensemble takes": (config(rows=4), model(rows=8), model(rows=4)),
    "no batch dimension between two that have one": (config(), model((-1, 2), (-1, 2), rows=0), model()),
    "an ensemble without one over models that have one": (config(rows=0), model(), model()),
    "and where it writes it out": (config(rows=0, dims=(-1, 2)), model(), model()),
    "an input that may be left out": (config(), model(more=("w",), optional=("w",)), model()),
}


@pytest.mark.parametrize(("ensemble", "first", "second"), FITS.values(), ids=FITS.keys())
def test_these_fit_together(ensemble: ModelConfig, first: Signature, second: Signature):
    assert misfit(ensemble, [first, second]) == ""


UNKNOWN_INPUT = config(Step(model="a", inputs={"z": "X"}, outputs={"y": "mid"}), STEPS[1])
UNKNOWN_OUTPUT = config(STEPS[0], Step(model="b", inputs={"x": "mid"}, outputs={"z": "Y"}))
MISFITS = [
    (
        config(),
        model(datatype="INT64"),
        model(),
        "in ensemble 'e', ensemble tensor 'mid': inconsistent data type: INT64 is inferred from model 'a' "
        "while FP32 is inferred from model 'b'",
    ),
    (
        config(datatype="INT32"),
        model(),
        model(),
        "in ensemble 'e', ensemble tensor 'X': inconsistent data type: INT32 is inferred from model 'e' "
        "while FP32 is inferred from model 'a'",
    ),
    (
        config(),
        model(gives=(3,)),
        model(),
        "in ensemble 'e', ensemble tensor 'mid': inconsistent shape: [-1, 3] is inferred from model 'a' "
        "while [-1, 2] is inferred from model 'b'",
    ),
    (
        config(),
        model(),
        model(rows=4),
        "ensemble 'e' allows maximum batch size 8, but it contains model 'b' "
        "which only allows maximum batch size to be 4",
    ),
    (
        UNKNOWN_INPUT,
        model(),
        model(),
        "in ensemble 'e', ensemble tensor 'X' is mapping to non-existing input 'z' in model 'a'",
    ),
    (
        UNKNOWN_OUTPUT,
        model(),
        model(),
        "in ensemble 'e', ensemble tensor 'Y' is mapped from non-existing output 'z' in model 'b'",
    ),
    (
        config(),
        model(),
        model(more=("w",)),
        "in ensemble 'e', input 'w' in model 'b' is not mapped to any ensemble tensors",
    ),
]


@pytest.mark.parametrize(("ensemble", "first", "second", "sentence"), MISFITS)
def test_these_do_not(ensemble: ModelConfig, first: Signature, second: Signature, sentence: str):
    assert misfit(ensemble, [first, second]) == sentence
