"""Tries one candidate: loads it as the server would, asks its golden examples, runs it in batches.

Runs in a process of its own (`server.lifecycle.nursery`), which may crash, hang or grow: so it tells
what it is at before it begins it. Everything is done on the CPU, whatever the configuration asks for.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from runtimes.errors import InputRefused, RunFailed, RuntimeFault
from runtimes.memory import trim
from server.domain.backoff import may_pass
from server.domain.configuration import InstanceGroup, InstanceKind, TensorConfig
from server.domain.errors import ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.tensors import Tensors, TensorSpec
from server.lifecycle import probe
from server.lifecycle.agreement import difference
from server.lifecycle.completion import ConfigContradicts
from server.lifecycle.ending import OWN_CODE
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.memory import forget_peak, own_bytes, peak_bytes, resident_bytes
from server.lifecycle.rehearsal import Run, runner
from server.lifecycle.sample import NoSample, good_request
from server.lifecycle.verdict import Verdict, depends_on_its_own_code
from server.wire.golden import GoldenExample, example_of

ON_THE_CPU = (InstanceGroup(kind=InstanceKind.CPU, count=1),)
PATIENCE_S = 2.0
"""For all timed runs together; the next size is left out where it would not fit."""

LONG_S = 0.5
"""For the runs of one size: no further one is begun beyond it."""

LEAST_BYTES = 2**16
"""Of a model that hides in pages begun by others; what small models add each to a server is as much."""

Tell = Callable[[str], None]
"""Told what is begun, in words that complete "it was at ..."."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to try, and how the server would load it.

    wants_example   where it has no golden example, make up a small one and keep its answer in `described`
    """

    offer: ModelOffer
    version: VersionOffer
    auto_complete: bool
    wants_example: bool = False


class Rejected(Exception):
    """The candidate is not to serve; the message is the reason."""


def judge(job: Job, tell: Tell) -> Verdict:
    """Try it, and say what came of it. Blocks for as long as the candidate takes; may never return."""
    return _Trial(job, tell).verdict()


class _Trial:
    """One candidate on its way through the checks."""

    def __init__(self, job: Job, tell: Tell) -> None:
        self._job = job
        self._tell = tell
        self._checked: list[str] = []
        self._doubts: list[str] = []
        self._run_seconds: dict[int, float] = {}
        self._began_bytes = resident_bytes()
        self._loaded_bytes = self._run_bytes = 0
        self._most_bytes = 0
        self._load_seconds = 0.0
        self._described: dict[str, Any] = {}

    def verdict(self) -> Verdict:
        reason, passing = "", False
        try:
            loaded = self._load()
            device, session = next(iter(loaded.sessions.items()))
            run = runner(device, session, loaded.config, loaded.padding)
            with self._measured_runs():
                self._ask_examples(loaded, run)
                self._run_batches(loaded, run)
        except (RuntimeFault, ServingError, ConfigContradicts, Rejected, OSError, MemoryError) as error:
            reason, passing = in_words(error), may_pass(error)
        return Verdict(
            reason=reason,
            lasting=not reason or not (passing or depends_on_its_own_code(self._job.version)),
            may_pass=passing,
            checked=tuple(self._checked),
            doubts=tuple(self._doubts),
            load_seconds=self._load_seconds,
            loaded_bytes=self._loaded_bytes,
            run_bytes=self._run_bytes,
            peak_bytes=max(0, max(self._most_bytes, peak_bytes()) - self._began_bytes),
            run_seconds=self._run_seconds,
            described=self._described,
        )

    def _load(self) -> Loaded:
        self._tell("loading")
        config = self._job.offer.config
        assert config is not None
        offer = replace(self._job.offer, config=replace(config, instance_groups=ON_THE_CPU))
        loader = Loader(cpu_budget=1, max_queue_size=1, auto_complete=self._job.auto_complete)
        trim()
        before, began = own_bytes(self._job.version.directory), perf_counter()
        loaded = loader.load(offer, self._job.version, models=1)
        self._load_seconds = perf_counter() - began
        trim()  # what loading left lying about is not what it takes
        self._loaded_bytes = max(LEAST_BYTES, own_bytes(self._job.version.directory) - before)
        self._described = _described(loaded)
        self._checked.append("loading")
        return loaded

    @contextmanager
    def _measured_runs(self) -> Iterator[None]:
        """Of what runs take, the most; what the load took at its height is kept beside it.

        Pages of libraries that came with them stay for all models, so they are nobody's.
        """
        before, self._most_bytes = resident_bytes(), peak_bytes()
        shared = self._shared_bytes()
        counts_anew = forget_peak()
        yield
        grown = (peak_bytes() if counts_anew else resident_bytes()) - before
        self._run_bytes = max(0, grown - max(0, self._shared_bytes() - shared))

    def _shared_bytes(self) -> int:
        """Pages of files that are not the version's."""
        return resident_bytes() - own_bytes(self._job.version.directory)

    def _ask_examples(self, loaded: Loaded, run: Run) -> None:
        for example in loaded.examples:
            what = f"golden example '{example.name}'"
            self._tell(what)
            try:
                answer = _asked(loaded, run, example)
            except (RuntimeFault, ServingError, Rejected) as error:
                raise Rejected(f"{what} is not answered: {error}") from error
            for name, expected in example.outputs.items():
                problem = difference(expected, answer.get(name), example.tolerance_of(name))
                if problem:
                    raise Rejected(f"{what}: output '{name}' {problem}")
            self._checked.append(what)

    def _run_batches(self, loaded: Loaded, run: Run) -> None:
        """One row, then more and more of them; then a batch against its rows."""
        self._tell("a first run")
        sample = self._sample(loaded, run)
        if sample is None:
            return
        most = loaded.predicts.max_batch_size
        if not most:
            self._run_seconds[1] = _timed(run, sample)
            self._checked.append("a run")
            return
        joins = most > 1 and loaded.config.dynamic_batching is not None
        spent, largest = 0.0, 0
        for rows in probe.ladder(most):
            inputs = probe.rows_of(sample, rows)
            expected = self._run_seconds.get(largest, 0.0) * rows / max(1, largest)
            if sum(array.nbytes for array in inputs.values()) > probe.MOST_BYTES or (
                spent + 3 * expected > PATIENCE_S
            ):
                self._doubts.append(f"batches of more than {largest} rows were not tried: they take too long")
                break
            self._tell(f"a run of {rows} rows")
            try:
                self._run_seconds[rows] = _timed(run, inputs)
            except (RuntimeFault, ServingError) as error:
                sentence = f"a batch of {rows} rows fails, where max_batch_size is {most}: {error}"
                if joins:
                    raise Rejected(sentence) from error
                self._doubts.append(sentence)
                break
            spent, largest = spent + 3 * self._run_seconds[rows], rows
        self._checked.append(f"runs of up to {largest} rows")
        if joins:
            self._probe(probe.rows_of(sample, min(most, probe.PROBE_ROWS)), run)

    def _probe(self, batch: Tensors, run: Run) -> None:
        rows = len(next(iter(batch.values())))
        self._tell("the batching probe")
        singles = [run(probe.alone(batch, row)) for row in range(rows)]
        again = [run(probe.alone(batch, 0))]
        if any(probe.findings(singles[0], again)):
            self._doubts.append(
                "it answers the same request differently each time, so nobody can tell whether a batch "
                "answers as its rows alone"
            )
            return
        found = list(probe.findings(run(batch), singles))
        wrong = [finding.sentence for finding in found if finding.wrong]
        if wrong:
            raise Rejected(
                f"a batch does not answer as its rows alone: {wrong[0]}; without dynamic_batching in "
                "config.pbtxt and with its max_batch_size, requests would not be joined"
            )
        self._doubts += [f"a batch answers almost as its rows alone: {each.sentence}" for each in found]
        self._checked.append(f"a batch of {rows} rows against its rows")

    def _sample(self, loaded: Loaded, run: Run) -> Tensors | None:
        """One good request as the model itself sees it, of an example or made up; None for want of one."""
        try:
            sample = good_request(loaded, run)
        except NoSample as error:
            self._doubts.append(f"it was not run, as {error}")
            return None
        if self._job.wants_example and not sample.is_of_example:
            self._described["example"] = example_of(sample.inputs, run(sample.inputs))
        return sample.inputs


def _asked(loaded: Loaded, run: Run, example: GoldenExample) -> Tensors:
    """The answer to an example, by the way of a request."""
    tensors: Tensors = example.inputs
    try:
        if loaded.pre is not None:
            tensors = loaded.pre.attempt(tensors, "golden example", example.parameters)
        loaded.predicts.rows(tensors)
        tensors = run(tensors)
        if loaded.post is not None:
            tensors = loaded.post.attempt(tensors, "golden example", example.parameters)
    except InputRefused as refusal:
        raise Rejected(f"it is refused: {refusal}") from None
    except RunFailed as failure:
        raise Rejected(f"{own_line(failure.__cause__)}{failure}") from failure
    return tensors


def in_words(error: Exception) -> str:
    """Its sentence; of what the system says, no path of this machine."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(str(error.filename)).name} cannot be read: {error.strerror}"
    return str(error) or "out of memory"


def own_line(error: BaseException | None) -> str:
    """The last line of the version's own code that had a part in an error, to precede its sentence."""
    frames = traceback.extract_tb(error.__traceback__ if error is not None else None)
    own = [frame for frame in frames if Path(frame.filename).name in OWN_CODE]
    return f"{Path(own[-1].filename).name} line {own[-1].lineno}: " if own else ""


def _timed(run: Run, inputs: Tensors) -> float:
    """The shortest of three runs, in seconds; of one, where that takes long."""
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < LONG_S:
        began = perf_counter()
        run(inputs)
        taken.append(perf_counter() - began)
    return min(taken)


def _described(loaded: Loaded) -> dict[str, Any]:
    dynamic = loaded.config.dynamic_batching
    return {
        "file": loaded.described.to_json(),
        "platform": str(loaded.described.platform),
        "max_batch_size": loaded.predicts.max_batch_size,
        "dynamic_batching": dynamic is not None,
        "inputs": [_configured(tensor) for tensor in loaded.config.inputs],
        "outputs": [_configured(tensor) for tensor in loaded.config.outputs],
        "client_inputs": _listed(loaded.sees.inputs),
        "client_outputs": _listed(loaded.sees.outputs),
    }


def _configured(tensor: TensorConfig) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "dims": list(tensor.dims),
        "reshape": None if tensor.reshape is None else list(tensor.reshape),
    }


def _listed(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
