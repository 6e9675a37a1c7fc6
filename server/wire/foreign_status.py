"""What another server's refusal means in our words: the table of `server.wire.codes`, read backwards.

A gRPC code is shared by several of our errors, and the other server's sentence is all that tells them apart:
the wordings are Triton's, which other servers took over, and ours. The code that our own caller then reads is
the one that the other server gave, but where that speaks of things that our caller has no part in.
"""

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    NotSupported,
    QueueFull,
    RequestTooLarge,
    ServingError,
    TierFailed,
    TierUnavailable,
)
from server.domain.stage import StageName

STAGE: StageName = "predict"

_CANCELLED, _UNKNOWN, _INVALID, _DEADLINE, _NOT_FOUND = 1, 2, 3, 4, 5
_EXHAUSTED, _PRECONDITION, _UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE = 8, 9, 12, 13, 14

_NO_PLACE = ("exceeds maximum queue size", "requests in flight")
_OUT_OF_TIME = ("request timeout expired",)
_TOO_LARGE = ("message larger than max",)
_NOT_REACHED = ("failed to connect", "connections to all backends failing", "dns resolution failed")
"""As gRPC itself puts it where nothing was sent."""


def error_of(code: int, sentence: str, *, model: str, version: int) -> ServingError:
    """The error of a call that ended with this status, which names its stage.

    One that says of itself that it is `untouched` cannot have begun there.
    """
    error = _error_of(code, sentence, model, version)
    error.__dict__["stage"] = STAGE
    return error


def _error_of(code: int, sentence: str, model: str, version: int) -> ServingError:
    said = sentence.lower()
    if code in (_EXHAUSTED, _UNAVAILABLE):
        if _says(said, _NO_PLACE):
            return _full(model, sentence)
        if _says(said, _OUT_OF_TIME):
            return DeadlineExceeded(model)
        if _says(said, _TOO_LARGE):
            return RequestTooLarge(f"the server of model '{model}' refuses it: {sentence}")
        if code == _EXHAUSTED:
            return _full(model, sentence)
        return TierUnavailable(STAGE, model, sentence or "it is gone", untouched=_says(said, _NOT_REACHED))
    if code in (_INVALID, _PRECONDITION):
        return InvalidRequest(sentence)
    if code == _DEADLINE:
        return DeadlineExceeded(model)
    if code == _NOT_FOUND:  # it is known here, so it has gone there a moment ago
        return TierUnavailable(STAGE, model, sentence, untouched=True)
    if code == _UNIMPLEMENTED:
        return NotSupported(sentence)
    if code in (_INTERNAL, _UNKNOWN):
        return InferenceFailed(model, version, sentence)
    if code == _CANCELLED:
        return TierUnavailable(STAGE, model, f"it cancelled the request: {sentence}")
    return TierFailed(STAGE, f"status {code}: {sentence}")


def _full(model: str, sentence: str) -> QueueFull:
    error = QueueFull(model, 0, 1.0)
    error.args = (sentence,)
    return error


def _says(sentence: str, wordings: tuple[str, ...]) -> bool:
    return any(wording in sentence for wording in wordings)
