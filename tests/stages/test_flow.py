"""Which steps of an ensemble can begin: every answer is that of a plain loop over the steps in order."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.domain.ensemble import Step
from server.stages.flow import Flow, needed


@dataclass(frozen=True)
class Drawn:
    """An ensemble: its inputs, its steps in any order, those in an order that works, and what is wanted."""

    inputs: list[str]
    steps: list[Step]
    in_order: list[Step]
    wanted: list[str]


@st.composite
def ensembles(draw: st.DrawFn) -> Drawn:
    inputs = [f"in{number}" for number in range(draw(st.integers(1, 3)))]
    tensors = list(inputs)
    steps = []
    for at in range(draw(st.integers(1, 8))):
        reads = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
        gives = [f"t{at}.{number}" for number in range(draw(st.integers(1, 2)))]
        steps.append(
            Step(
                model=f"m{at}",
                inputs={f"x{number}": tensor for number, tensor in enumerate(reads)},
                outputs={f"y{number}": tensor for number, tensor in enumerate(gives)},
            )
        )
        tensors += gives
    made = tensors[len(inputs) :]
    wanted = draw(st.lists(st.sampled_from(made), min_size=1, unique=True))
    return Drawn(inputs, draw(st.permutations(steps)), steps, wanted)


def run(step: Step, tensors: dict[str, str]) -> dict[str, str]:
    """What a model gives: its name with all that it was given, so that no two ways give the same."""
    given = ",".join(f"{name}={tensors[tensor]}" for name, tensor in sorted(step.inputs.items()))
    return {tensor: f"{step.model}.{output}({given})" for output, tensor in step.outputs.items()}


def in_sequence(drawn: Drawn) -> dict[str, str]:
    tensors = {name: name for name in drawn.inputs}
    for step in drawn.in_order:
        tensors |= run(step, tensors)
    return {name: tensors[name] for name in drawn.wanted}


@given(ensembles(), st.data())
def test_whatever_ends_first_the_answer_is_that_of_the_steps_one_by_one(drawn: Drawn, data: st.DataObject):
    flow = Flow(drawn.steps, drawn.wanted)
    tensors = {name: name for name in drawn.inputs}
    ran: list[int] = []
    running: dict[int, dict[str, str]] = {}
    ready = flow.arrive(drawn.inputs)
    while ready or running:
        for at in ready:
            running[at] = run(
                drawn.steps[at], tensors
            )  # a KeyError: it was told too early, or dropped too soon
            for spent in flow.take(at):
                del tensors[spent]
        at = data.draw(st.sampled_from(sorted(running)))
        ran.append(at)
        given = running.pop(at)
        tensors |= {name: each for name, each in given.items() if flow.needs(name)}
        ready = flow.arrive(given)
    assert {name: tensors[name] for name in drawn.wanted} == in_sequence(drawn)
    assert sorted(ran) == flow.steps, "each step that is needed runs, and runs once"
    assert tensors.keys() - drawn.inputs == set(drawn.wanted), "nothing is kept that nobody needs"


@given(ensembles())
def test_without_any_one_of_the_needed_steps_the_answer_is_not_to_be_had(drawn: Drawn):
    for left_out in needed(drawn.steps, drawn.wanted):
        steps = [step for at, step in enumerate(drawn.steps) if at != left_out]
        there = set(drawn.inputs)
        while more := [
            s for s in steps if there >= {*s.inputs.values()} and not there >= {*s.outputs.values()}
        ]:
            there |= {tensor for step in more for tensor in step.outputs.values()}
        assert not there >= set(drawn.wanted)


def diamond() -> list[Step]:
    return [
        Step(model="join", inputs={"a": "left", "b": "right"}, outputs={"y": "out"}),
        Step(model="double", inputs={"x": "in"}, outputs={"y": "left"}),
        Step(model="triple", inputs={"x": "in"}, outputs={"y": "right"}),
    ]


def test_steps_that_need_the_same_tensor_can_begin_together():
    flow = Flow(diamond(), ["out"])
    assert flow.arrive(["in"]) == [1, 2]
    assert flow.arrive(["right"]) == []
    assert flow.arrive(["left"]) == [0]


def test_a_tensor_is_let_go_when_the_last_step_has_taken_it():
    flow = Flow(diamond(), ["out", "left"])
    flow.arrive(["in"])
    assert flow.take(1) == []
    assert flow.take(2) == ["in"]
    flow.arrive(["left", "right"])
    assert flow.take(0) == ["right"]  # the caller wants the left one too


def test_steps_whose_outputs_nobody_asked_for_are_left_out():
    assert Flow(diamond(), ["left"]).steps == [1]
