"""Prepares one model: has its runtime write down what it makes of the file, and holds that to the file.

Runs in a process of its own (`server.lifecycle.nursery`), beside traffic. What is written is good if it
answers what the file answers, to the last bit, alone and in a batch; anything else is not kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from runtimes.errors import RuntimeFault
from runtimes.onnx_preparing import prepare_onnx
from server.domain.errors import ServingError
from server.domain.tensors import Array, Tensors
from server.lifecycle import probe
from server.lifecycle.loader import Loaded, Loader
from server.lifecycle.prepared import seal
from server.lifecycle.rehearsal import runner
from server.lifecycle.sample import NoSample, good_request
from server.lifecycle.trial import ON_THE_CPU, Job, Tell, in_words


@dataclass(frozen=True, slots=True)
class PreparationJob:
    """`into` is an empty folder; `job` says how the server would load the version."""

    job: Job
    into: Path


class NotTheSame(Exception):
    """What was prepared is another model; the message says in what."""


def prepare(wanted: PreparationJob, tell: Tell) -> str:
    """Why it is not to be used; empty for what is done, and sealed. Blocks for some loads of the model."""
    try:
        _prepare(wanted, tell)
    except (RuntimeFault, ServingError, NoSample, NotTheSame, OSError, MemoryError) as error:
        return in_words(error)
    return ""


def _prepare(wanted: PreparationJob, tell: Tell) -> None:
    tell("loading")
    loaded = _load(wanted.job)
    tell("asking")
    questions = list(_questions(loaded))
    expected = [_answer(loaded, question) for question in questions]
    loaded.close()
    tell("preparing")
    file = prepare_onnx(loaded.file, wanted.into)
    tell("opening what was prepared")
    prepared = _load(wanted.job, file)
    if prepared.described != loaded.described:
        raise NotTheSame("it describes itself otherwise than the file does")
    for question, answer in zip(questions, expected, strict=True):
        found = _answer(prepared, question)
        for name, array in answer.items():
            if not _is_equal(array, found[name]):
                raise NotTheSame(f"its output '{name}' differs from the file's")
    prepared.close()
    seal(wanted.into)


def _load(job: Job, prepared: Path | None = None) -> Loaded:
    config = job.offer.config
    assert config is not None
    offer = replace(job.offer, config=replace(config, instance_groups=ON_THE_CPU))
    loader = Loader(cpu_budget=1, max_queue_size=1, auto_complete=job.auto_complete)
    return loader.load(offer, job.version, models=1, prepared=prepared)


def _questions(loaded: Loaded) -> Iterator[Tensors]:
    """One row, and some. Raises `NoSample`."""
    device, session = next(iter(loaded.sessions.items()))
    inputs = good_request(loaded, runner(device, session, loaded.config, loaded.padding)).inputs
    yield inputs
    most = loaded.predicts.max_batch_size
    if most > 1:
        yield probe.rows_of(inputs, min(most, probe.PROBE_ROWS))


def _answer(loaded: Loaded, question: Tensors) -> Tensors:
    device, session = next(iter(loaded.sessions.items()))
    return runner(device, session, loaded.config, loaded.padding)(question)


def _is_equal(one: Array, other: Array) -> bool:
    """To the last bit, where numbers are none, too."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool((one == other).all()) if one.dtype.hasobject else one.tobytes() == other.tobytes()
