"""Tries one candidate of a pre or a post tier: opens its code as the tier would, and asks it its examples.

Runs in a process of its own, as `server.lifecycle.trial` does, and imports no runtime. A golden example is a
question to the first stage, so pre-processing code has to take it; what the model makes of that, the predict
tier knows.
"""

from time import perf_counter

from runtimes.errors import InputRefused, RunFailed, RuntimeFault
from server.domain.backoff import may_pass
from server.domain.errors import ServingError
from server.lifecycle.instances import Content
from server.lifecycle.memory import peak_bytes, resident_bytes
from server.lifecycle.part_version import PartVersion, open_part
from server.lifecycle.trial import Job, Rejected, Tell, in_words, own_line
from server.lifecycle.verdict import Verdict

NO_CONTENT = Content("")


def judge_part(job: Job, tell: Tell) -> Verdict:
    """Try it, and say what came of it. Blocks for as long as the candidate takes; may never return."""
    reason, passing = "", False
    checked: list[str] = []
    began_bytes = resident_bytes()
    load_seconds = 0.0
    loaded_bytes = 0
    try:
        tell("loading")
        began = perf_counter()
        opened = open_part(job.offer, job.version, NO_CONTENT)
        load_seconds = perf_counter() - began
        loaded_bytes = max(0, resident_bytes() - began_bytes)
        checked.append("loading")
        _ask_examples(opened, tell, checked)
    except (RuntimeFault, ServingError, Rejected, OSError, MemoryError) as error:
        reason, passing = in_words(error), may_pass(error)
    return Verdict(
        reason=reason,
        lasting=not reason,  # what code makes of a request may hang on anything outside its folder
        may_pass=passing,
        checked=tuple(checked),
        load_seconds=load_seconds,
        loaded_bytes=loaded_bytes,
        peak_bytes=max(0, peak_bytes() - began_bytes),
    )


def _ask_examples(opened: PartVersion, tell: Tell, checked: list[str]) -> None:
    for example in opened.facts.examples:
        what = f"golden example '{example.name}'"
        tell(what)
        try:
            opened.part.attempt(example.inputs, "golden example", example.parameters)
        except InputRefused as refusal:
            raise Rejected(f"{what} is not answered: it is refused: {refusal}") from None
        except RunFailed as failure:
            raise Rejected(f"{what} is not answered: {own_line(failure.__cause__)}{failure}") from failure
        checked.append(what)
