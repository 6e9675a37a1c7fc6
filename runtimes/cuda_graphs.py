"""What a model's configuration asks of CUDA graphs, as parameters of its runtime. Pure.

A graph is a run recorded once, for one shape, and started again by a single call: for models whose kernels
take less time than their launching. `config.pbtxt` asks by Triton's names:

    optimization { cuda { graphs: true  graph_spec { batch_size: 4 }  graph_spec { batch_size: 8 } } }

Without a `graph_spec` there is a graph for each row count of `tercet.pad_rows_to`, or else for 1, 2, 4 … up
to `max_batch_size`. Runs with other row counts go without one.
"""

from collections.abc import Sequence

from runtimes.errors import ModelBroken
from runtimes.session import Description, ModelFile
from runtimes.tensors import VARIABLE, TensorSpec

PARAMETER = "cuda_graph_rows"
"""Row counts, ascending, with commas; 0 for a model that does not batch. Absent where nobody asks for
graphs."""


def graph_rows(model: ModelFile) -> tuple[int, ...]:
    """Empty where no graphs are wanted. Raises `ModelBroken`."""
    said = model.parameters.get(PARAMETER, "")
    if not said or model.device.kind == "cpu":
        return ()
    if not all(each.isdecimal() for each in said.split(",")):
        raise ModelBroken(f"parameter {PARAMETER} is '{said}', which is no list of row counts")
    return tuple(sorted({int(each) for each in said.split(",")}))


def check_fixed(description: Description, model: ModelFile) -> None:
    """Raises `ModelBroken` where a graph would not be the same for every request."""
    wants = f"{model.path.name} is to run as CUDA graphs (optimization.cuda.graphs)"
    for spec in (*description.inputs, *description.outputs):
        sizes = spec.shape[1:] if description.batches else spec.shape
        if VARIABLE in sizes:
            raise ModelBroken(
                f"{wants}, which have one shape each, but '{spec.name}' has the shape {list(spec.shape)}; "
                "fix all sizes but the rows when the model is exported, or leave graphs away"
            )
        if spec.datatype in ("BYTES", "BF16"):
            raise ModelBroken(f"{wants}, and '{spec.name}' is {spec.datatype}, which cannot be in one here")


def shape_for(spec: TensorSpec, rows: int, batches: bool) -> tuple[int, ...]:
    return (rows, *spec.shape[1:]) if batches else spec.shape


def powers(most: int) -> Sequence[int]:
    """1, 2, 4 … and `most` itself."""
    return sorted({1 << power for power in range(most.bit_length())} | {most})
