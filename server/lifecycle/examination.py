"""Asks an ensemble's golden examples before it serves, over its members as they serve by then.

It has no file that could be tried in a process of its own. So it is asked as callers would ask it, by the way
of requests: its members count that as they count any request, and it counts nothing.
"""

from collections.abc import Awaitable, Callable
from time import monotonic

from runtimes.errors import RuntimeFault
from server.domain.errors import InferenceFailed, InvalidRequest, ServingError, StageFailed
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.agreement import difference
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.served import Served
from server.wire.golden import GoldenExample

Ask = Callable[[Served, InferRequest], Awaitable[InferResponse]]
"""The way of requests: answers one, or raises a `ServingError`."""

OF_THE_CONTENT = (InvalidRequest, StageFailed, InferenceFailed)
"""What comes again if the same is asked again; a full queue or a deadline may pass."""


class ExampleFailed(RuntimeFault):
    """A golden example is answered otherwise than it says, or not at all."""

    def __init__(self, sentence: str, *, may_pass: bool = False) -> None:
        super().__init__(sentence)
        self.may_pass = may_pass


class Examination:
    """`within_s` is for all the examples of one ensemble together."""

    def __init__(self, ask: Ask, within_s: float) -> None:
        self._ask = ask
        self._within_s = within_s

    async def pass_on(self, served: EnsembleVersion) -> None:
        """Raises `ExampleFailed` at the first that it does not answer as it should."""
        deadline = monotonic() + self._within_s
        uncounted = served.uncounted()
        for example in served.facts.examples:
            await self._one(uncounted, example, deadline)

    async def _one(self, served: EnsembleVersion, example: GoldenExample, deadline: float) -> None:
        what = f"golden example '{example.name}'"
        request = InferRequest(
            served.facts.model,
            served.version,
            dict(example.inputs),
            "golden example",
            parameters=example.parameters,
            deadline=deadline,
            arrived=monotonic(),
        )
        try:
            response = await self._ask(served, request)
        except ServingError as error:
            passing = not isinstance(error, OF_THE_CONTENT)
            raise ExampleFailed(f"{what} is not answered: {error}", may_pass=passing) from error
        for name, expected in example.outputs.items():
            problem = difference(expected, response.outputs.get(name), example.tolerance_of(name))
            if problem:
                raise ExampleFailed(f"{what}: output '{name}' {problem}")
