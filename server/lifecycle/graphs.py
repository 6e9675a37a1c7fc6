"""What the runtime is told of the CUDA graphs that a configuration asks for."""

from collections.abc import Mapping

from runtimes.cuda_graphs import PARAMETER, powers
from server.domain.configuration import ModelConfig


def graph_parameters(config: ModelConfig) -> Mapping[str, str]:
    """The rows of each graph; empty where none are asked for. 0 stands for the one shape of a model that does
    not batch, or whose batches are not known before its file is opened."""
    if config.cuda_graphs is None:
        return {}
    rows = config.cuda_graphs.rows or config.pad_rows_to or powers(config.max_batch_size or 0)
    return {PARAMETER: ",".join(map(str, rows))}
