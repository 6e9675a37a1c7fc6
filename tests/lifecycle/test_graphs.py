"""What a configuration says of CUDA graphs, and what the runtime is told of it."""

import pytest

from runtimes.cuda_graphs import PARAMETER
from server.lifecycle.graphs import graph_parameters
from server.repository.configuration import read_text


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        ("max_batch_size: 6 optimization { cuda { graphs: true } }", "1,2,4,6"),
        (
            "optimization { cuda { graphs: true graph_spec { batch_size: 8 } graph_spec { batch_size: 2 } }}",
            "2,8",
        ),
        ("max_batch_size: 0 optimization { cuda { graphs: true } }", "0"),
    ],
)
def test_graphs_are_recorded_for_the_rows_that_are_named_or_for_powers_of_two(config: str, rows: str):
    assert graph_parameters(read_text(config.encode(), "m", "f").config) == {PARAMETER: rows}


def test_rows_that_runs_are_filled_up_to_have_a_graph_each():
    config = """max_batch_size: 16 optimization { cuda { graphs: true } }
    parameters { key: "tercet.pad_rows_to" value { string_value: "4,16" } }"""
    assert graph_parameters(read_text(config.encode(), "m", "f").config) == {PARAMETER: "4,16"}


def test_nobody_has_graphs_who_does_not_ask():
    for config in ("", "optimization { cuda { graph_spec { batch_size: 2 } } }"):
        assert graph_parameters(read_text(config.encode(), "m", "f").config) == {}
