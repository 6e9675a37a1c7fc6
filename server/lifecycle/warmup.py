"""What is run of a version before it is ready, and how long that took.

Triton's `model_warmup`: samples that the operator wrote, run on every session; one that fails keeps the
version from serving. A model with a latency target and no samples of its own is run a few times with 1, 2, 4
and more rows, so that the first requests meet a scheduler that knows what they cost.

Blocks; belongs on a loader thread. Nothing of it counts in the statistics.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from time import perf_counter_ns
from types import MappingProxyType

import numpy as np
import structlog

from runtimes.errors import RuntimeFault
from server.domain.errors import InvalidRequest, ServingError
from server.domain.signature import Signature
from server.domain.tensors import DATATYPES, VARIABLE, Array, Tensors
from server.domain.warmup import FOLDER, Warmup, WarmupData, WarmupInput
from server.wire import raw

log = structlog.get_logger(__name__)

RUNS = 3
"""Of each number of rows while learning: the first is often slow, and the middle one is kept."""

LEARNING_NS = 1_000_000_000
"""How long a version may learn, more or less: no run begins that is expected to end later."""

Run = Callable[[Tensors], object]
Clock = Callable[[], int]
Learned = Mapping[int, float]
"""Rows of a run -> nanoseconds."""

NOTHING_LEARNED: Learned = MappingProxyType({})


class WarmupFailed(RuntimeFault):
    """A sample that the configuration wants run did not run; the sentence names it."""


def warm_up(
    samples: Sequence[Warmup], directory: Path, predicts: Signature, run: Run, clock: Clock = perf_counter_ns
) -> Learned:
    """Run every sample as often as it says; the shortest time of each number of rows.

    `directory` is the model's folder, `run` runs the model with tensors as clients give
    them to it, so where it is padded they need bring no mask.
    Raises `WarmupFailed`.
    """
    took: dict[int, float] = {}
    for sample in samples:
        if not sample.batch_size:
            log.warning("warmup_skipped", model=predicts.model, sample=sample.name, reason="batch_size is 0")
            continue
        try:
            inputs = _inputs(sample, directory, predicts.max_batch_size > 0)
            rows = predicts.rows(inputs)
            times = sample.count if predicts.max_batch_size else sample.count * sample.batch_size
            for _ in range(times):
                took[rows] = min(_timed(run, inputs, clock), took.get(rows, float("inf")))
        except (ServingError, RuntimeFault, MemoryError) as error:
            why = str(error) or "out of memory"
            raise WarmupFailed(f"failed to run warmup sample '{sample.name}': {why}") from error
    return took


def learn(
    example: Tensors | None,
    predicts: Signature,
    run: Run,
    *,
    within_ns: int = LEARNING_NS,
    clock: Clock = perf_counter_ns,
) -> Learned:
    """How long runs of 1, 2, 4 and more rows take: as many sizes as there is time for.

    `example` is one good request as the model sees it; without one, zeros do where every size is fixed. What
    fails here harms nobody: then nothing more is learned.
    """
    row = _row(example, predicts)
    took: dict[int, float] = {}
    if row is None:
        return took
    left, expected = float(within_ns), 0.0
    for rows in _sizes(predicts.max_batch_size):
        inputs = {name: np.repeat(array, rows, axis=0) for name, array in row.items()} if rows > 1 else row
        times: list[float] = []
        while len(times) < RUNS and expected <= left:
            try:
                times.append(_timed(run, inputs, clock))
            except (ServingError, RuntimeFault, MemoryError) as error:
                log.warning("warmup_not_learned", model=predicts.model, rows=rows, reason=str(error))
                return took
            left -= times[-1]
            expected = min(times)
        if not times:
            break
        took[rows] = median_low(times)
        expected = 2 * took[rows]
    return took


def slowest(learned: Sequence[Learned]) -> Learned:
    """Of several devices: what holds for whichever takes a run."""
    sizes = {rows for each in learned for rows in each}
    return {rows: max(each[rows] for each in learned if rows in each) for rows in sorted(sizes)}


def _timed(run: Run, inputs: Tensors, clock: Clock) -> float:
    began = clock()
    run(inputs)
    return clock() - began


def _sizes(max_batch_size: int) -> Iterator[int]:
    rows = 1
    while rows < max_batch_size:
        yield rows
        rows *= 2
    yield max(1, max_batch_size)


def _row(example: Tensors | None, predicts: Signature) -> Tensors | None:
    """One row that the model takes, or the whole request where it has no rows; None if there is none."""
    batches = predicts.max_batch_size > 0
    if example is not None:
        row = {name: np.ascontiguousarray(array[:1] if batches else array) for name, array in example.items()}
        try:
            predicts.rows(row)
            return row
        except InvalidRequest:
            pass  # of another model than this one, and not the operator's concern here
    needed = [spec for spec in predicts.inputs if spec.name not in predicts.optional]
    shapes = {spec.name: (1, *spec.shape[1:]) if batches else spec.shape for spec in needed}
    if any(VARIABLE in shape for shape in shapes.values()):
        return None
    return {spec.name: _zeros(spec.datatype, shapes[spec.name]) for spec in needed}


def _inputs(sample: Warmup, directory: Path, batches: bool) -> Tensors:
    """The tensors of a sample; its rows are all the same. Raises `InvalidRequest`."""
    inputs = {}
    for tensor in sample.inputs:
        row = _elements(tensor, directory)
        inputs[tensor.name] = np.repeat(row[np.newaxis], sample.batch_size, axis=0) if batches else row
    return inputs


def _elements(tensor: WarmupInput, directory: Path) -> Array:
    match tensor.data:
        case WarmupData.ZERO:
            return _zeros(tensor.datatype, tensor.dims)
        case WarmupData.RANDOM:
            return _random(tensor.datatype, tensor.dims)
        case WarmupData.FILE:
            return _from_file(tensor, directory)


def _zeros(datatype: str, shape: tuple[int, ...]) -> Array:
    dtype = DATATYPES[datatype].dtype
    return np.full(shape, b"", object) if dtype.hasobject else np.zeros(shape, dtype)


def _random(datatype: str, shape: tuple[int, ...]) -> Array:
    """Floats below 1, whole numbers below 128, and texts that are empty, as in Triton; always the same."""
    dtype = DATATYPES[datatype].dtype
    if dtype.hasobject:
        return _zeros(datatype, shape)
    chance = np.random.default_rng(0)
    if dtype.kind == "b":
        return chance.integers(0, 2, shape).astype(dtype)
    return (chance.integers(0, 128, shape) if dtype.kind in "iu" else chance.random(shape)).astype(dtype)


def _from_file(tensor: WarmupInput, directory: Path) -> Array:
    """The bytes of one row as on the wire; of a longer file its beginning, as in Triton."""
    what = f"input '{tensor.name}' from the file {FOLDER}/{tensor.file}"
    try:
        content = (directory / FOLDER / tensor.file).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{what} cannot be read: {error.strerror}") from error
    datatype = DATATYPES[tensor.datatype]
    size = len(content)
    if datatype.itemsize:
        size = datatype.itemsize * int(np.prod(tensor.dims))
        if size > len(content):
            raise InvalidRequest(f"{what} needs {size} bytes, but the file has {len(content)}")
    return raw.decode(content, 0, size, datatype, tensor.dims, what)
