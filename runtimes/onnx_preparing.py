"""Writes down what ONNX Runtime makes of a model file, so that it need not be made again.

Opening a file reads and copies its weights, rewrites the graph for this processor, and lays the weights out
as the kernels want them. What is written here has the graph as rewritten, and beside it the weights, as they
were and as laid out: opened in place of the file, these are mapped and not copied. It is for this processor,
and this version of ONNX Runtime. Figures: docs/decisions/prepared-models.md.
"""

from pathlib import Path

from runtimes.errors import ModelBroken
from runtimes.onnx_session import import_onnxruntime, session_options
from runtimes.session import ModelFile

GRAPH, WEIGHTS = "graph.onnx", "weights.bin"

LEAST_WEIGHTS_BYTES = 1024
"""Of a tensor that is mapped; smaller ones lie in the graph."""


def prepare_onnx(model: ModelFile, folder: Path) -> Path:
    """Write it to an empty folder; the file to be opened. On the CPU, whatever the model's device.

    Blocks for longer than opening the model. Raises `ModelBroken`, `RuntimeMissing`, and `OSError`.
    """
    ort = import_onnxruntime()
    options = session_options(ort, model)
    options.optimized_model_filepath = str(folder / GRAPH)
    for entry, value in (
        ("session.optimized_model_external_initializers_file_name", WEIGHTS),
        ("session.optimized_model_external_initializers_min_size_in_bytes", str(LEAST_WEIGHTS_BYTES)),
        ("session.save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(entry, value)
    try:
        ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the runtime stumbles over
        raise ModelBroken(f"{model.path.name} cannot be prepared: {error}") from error
    return folder / GRAPH
