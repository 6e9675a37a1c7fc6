"""Finds one good request to a version that nobody has asked yet, as the model itself sees it.

Blocks; belongs into a trial, as it runs what may not run.
"""

from dataclasses import dataclass

from runtimes.errors import RuntimeFault
from server.domain.errors import ServingError
from server.domain.tensors import Tensors
from server.lifecycle import probe
from server.lifecycle.loader import Loaded
from server.lifecycle.rehearsal import Run


class NoSample(Exception):
    """There is none; the message says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`is_of_example`: it is not made up."""

    inputs: Tensors
    is_of_example: bool


def good_request(loaded: Loaded, run: Run) -> Sample:
    """Of a golden example, through the version's own code; else made up, and run. Raises `NoSample`."""
    for example in loaded.examples:
        if not example.inputs.keys() >= _required(loaded):
            continue
        if loaded.pre is None:
            return Sample(example.inputs, is_of_example=True)
        inputs = loaded.pre.run(example.inputs, "golden example", example.parameters)
        return Sample(inputs, is_of_example=True)
    said = "an input is text"
    for length in probe.LENGTHS:
        rows = 1 if loaded.predicts.max_batch_size else 0
        made_up = probe.made_up(loaded.predicts.inputs, loaded.predicts.optional, rows, length)
        if made_up is None:
            break
        try:
            run(made_up)
        except (RuntimeFault, ServingError) as error:
            said = str(error)
            continue
        return Sample(made_up, is_of_example=False)
    raise NoSample(f"it has no golden example and made-up input does not fit: {said}")


def _required(loaded: Loaded) -> set[str]:
    return {spec.name for spec in loaded.sees.inputs if spec.name not in loaded.sees.optional}
