"""One request on its way through an ensemble: the tensors that are there by now, and what it took so far.

It knows no task and waits for nothing; `server.stages.ensemble` runs the steps that it names.
"""

from contextlib import AbstractAsyncContextManager
from time import monotonic, time

import numpy as np

from server.domain.errors import ServingError
from server.domain.request import NO_PARAMETERS, InferRequest, InferResponse, Parameter
from server.domain.tensors import Array, TensorSpec
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.served import Served
from server.stages.explaining import of_step, whole
from server.stages.flow import Flow


class Journey:
    """Lives on the event loop, from `begin` to `end`; what a step needs no more is let go on the way."""

    def __init__(self, served: EnsembleVersion, request: InferRequest) -> None:
        self._served = served
        self._request = request
        self._steps = served.ensemble.steps
        self._wanted = request.outputs or served.facts.signature.output_order
        self._flow = Flow(self._steps, self._wanted)
        self._tensors: dict[str, Array] = dict(request.inputs)
        self._queue_ns = 0
        self._compute_ns = 0
        self._took: dict[str, Parameter] = {}

    def begin(self) -> list[int]:
        """The steps that can run at once, by their places. An input that was left out counts as there."""
        return self._flow.arrive([spec.name for spec in self._served.facts.signature.inputs])

    def turn(self, at: int) -> AbstractAsyncContextManager[None]:
        """To be held while a step runs."""
        return self._served.turn(at)

    def request_of(self, at: int, member: Served) -> InferRequest:
        """What a step asks its model: the arrays themselves, or views of them, as `fitted` makes."""
        step, seen = self._steps[at], member.facts.signature
        inputs = {
            spec.name: fitted(self._tensors[step.inputs[spec.name]], spec, seen.max_batch_size > 0)
            for spec in seen.inputs
            if step.inputs.get(spec.name) in self._tensors
        }
        for tensor in self._flow.take(at):
            self._tensors.pop(tensor, None)
        whole = self._request
        return InferRequest(
            member.facts.model,
            member.version,
            inputs,
            whole.id,
            tuple(step.outputs),
            whole.parameters,
            whole.deadline,
            whole.priority,
            monotonic(),
            client=whole.client,
            trace=None if whole.trace is None else whole.trace.step(f"step {at}"),
        )

    def note(self, at: int, response: InferResponse) -> list[int]:
        """A step has its answer: those that can run by that, by their places."""
        self._queue_ns += response.queue_ns
        self._compute_ns += response.compute_ns
        if response.parameters:  # of a request that asks where its time goes
            self._took |= of_step(at, self._steps[at].model, response.parameters)
        outputs = self._steps[at].outputs
        for name, tensor in outputs.items():
            if self._flow.needs(tensor):
                self._tensors[tensor] = response.outputs[name]
        return self._flow.arrive(outputs.values())

    def note_time(self, at: int, took_s: float) -> None:
        self._served.facts.tally.stage(self._steps[at].model).add(took_s)

    def told(self, at: int, error: ServingError) -> ServingError:
        """A step's failure as the caller of the ensemble reads it."""
        return error.within(self._served.facts.model, self._steps[at].model)

    def end(self) -> InferResponse:
        """The whole answer, once no step is left."""
        seen = self._served.facts.signature
        specs = {spec.name: spec for spec in seen.outputs}
        batches = seen.max_batch_size > 0
        self._count()
        return InferResponse(
            self._request.model,
            self._served.version,
            {name: fitted(self._tensors[name], specs[name], batches) for name in self._wanted},
            self._request.id,
            {**self._took, **whole(self._request)} if self._took else NO_PARAMETERS,
            self._request.rows,
            self._queue_ns,
            self._compute_ns,
        )

    def _count(self) -> None:
        """An ensemble's run is one request; it waited and computed as long as all its steps together."""
        sums, rows = self._served.facts.tally.sums, self._request.rows
        sums.inference_count += rows
        sums.execution_count += 1
        sums.last_inference = int(time() * 1000)
        sums.rows.add(rows)
        sums.queue.add(1, self._queue_ns)
        sums.queue_s.add(self._queue_ns / 1e9)
        sums.compute_input.add(1, 0)
        sums.compute_infer.add(1, self._compute_ns)
        sums.compute_output.add(1, 0)
        sums.compute_s.add(self._compute_ns / 1e9)
        spans = sums.batch(rows)
        spans.compute_input.add(1, 0)
        spans.compute_infer.add(1, self._compute_ns)
        spans.compute_output.add(1, 0)


def fitted(array: Array, spec: TensorSpec, batches: bool) -> Array:
    """A tensor from a model without a batch dimension for one with it, or the other way round: a view.

    An array that fits neither so nor so is left as it is: the model says what it expected.
    """
    shape = array.shape
    if spec.admits(shape):
        return array
    if batches:
        return array[np.newaxis] if spec.admits((1, *shape)) else array
    return array.reshape(shape[1:]) if shape[:1] == (1,) and spec.admits(shape[1:]) else array
