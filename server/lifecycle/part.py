"""A version's own pre- or post-processing code, with its failures told apart."""

from types import MappingProxyType
from typing import Literal
from uuid import uuid4

import structlog

from runtimes.code import NO_REQUEST, Code, Request
from runtimes.errors import InputRefused, RunFailed
from server.domain.errors import InvalidRequest, StageFailed
from server.domain.request import NO_PARAMETERS, Parameters
from server.domain.tensors import Array, Tensors, TensorSpec

log = structlog.get_logger(__name__)

CodeStage = Literal["pre", "post"]


def named(request_id: str) -> str:
    """The client's own name of a request, or one that is made for it: it costs what a small stage does."""
    return request_id or uuid4().hex


class Part:
    """One stage's code. `run` is called from several threads at once, as the code must expect."""

    def __init__(self, code: Code, model: str, version: int, stage: CodeStage) -> None:
        self._code = code
        self._model = model
        self._version = version
        self._stage = stage

    @property
    def takes_request(self) -> bool:
        """Whether it is told more of a request than its tensors, by a name that all of its stages know."""
        return self._code.takes_request

    @property
    def contract(self) -> tuple[TensorSpec, ...] | None:
        """What clients see on this side of the model; None for the model's own tensors."""
        return self._code.contract

    def close(self) -> None:
        """No run is in progress, and none follows."""
        self._code.close()

    def attempt(
        self, tensors: Tensors, request_id: str, parameters: Parameters = NO_PARAMETERS, priority: int = 0
    ) -> dict[str, Array]:
        """Raises `InputRefused`, or `RunFailed` with what the code raised as its cause."""
        request = NO_REQUEST
        if self._code.takes_request:
            request = Request(
                id=named(request_id), parameters=MappingProxyType(parameters), priority=priority
            )
        return self._code.run(tensors, request)

    def run(
        self, tensors: Tensors, request_id: str, parameters: Parameters = NO_PARAMETERS, priority: int = 0
    ) -> dict[str, Array]:
        """Raises `InvalidRequest` in the code's own words, or `StageFailed`, whose cause goes to the log.

        A request without an id gets one where somebody is told of it.
        """
        try:
            return self.attempt(tensors, request_id, parameters, priority)
        except InputRefused as refusal:
            raise InvalidRequest(str(refusal)) from None
        except RunFailed as failure:
            request_id = named(request_id)
            log.error(
                "stage_failed",
                model=self._model,
                version=self._version,
                stage=self._stage,
                request_id=request_id,
                exc_info=failure.__cause__ or failure,
            )
            raise StageFailed(self._model, self._version, self._stage, request_id) from None
