"""Everything that can be refused or go wrong, in words.

Each error carries facts and a sentence for its reader; none knows a protocol. `server.wire.codes`
gives each its numbers, and only a door turns one into the other. Where Triton has a sentence for
the same event, its wording is kept: people's clients match on it.
"""

from typing import Self

from server.domain.stage import StageName


class ServingError(Exception):
    """The root of the family. `str(error)` is the sentence that the caller reads."""

    def within(self, ensemble: str, member: str) -> Self:
        """The same refusal, with the same facts, as the caller of an ensemble is to read it."""
        told = type(self).__new__(type(self))
        told.__dict__.update(self.__dict__)
        sentence = str(self)
        whose = "" if f"'{member}'" in sentence else f"model '{member}': "
        told.args = (f"in ensemble '{ensemble}', {whose}{sentence}",)
        return told


class InvalidRequest(ServingError):
    """The request itself is at fault: a shape, a datatype, a name, a size, a parameter."""


class RequestTooLarge(ServingError):
    """The body, or what it would decompress to, is over a limit; the sentence names the option."""


class NotKnown(ServingError):
    """The caller shows nothing, or nothing that the server knows. It is not said what there is."""

    def __init__(self, why: str = "nothing was shown") -> None:
        super().__init__(
            f"who asks is not known here ({why}): send 'authorization: Bearer KEY' or 'x-api-key: KEY'"
        )


class NotAllowed(ServingError):
    """The caller is known, and lacks the right. It is not said what there is."""

    def __init__(self, caller: str, needed: str) -> None:
        super().__init__(f"'{caller}' may not do this: it needs the right {needed}")
        self.caller = caller


class ApiRestricted(ServingError):
    """A call of an API that Triton's options restrict, without the header that opens it."""

    def __init__(self, what: str, header: str, caller: str = "anonymous") -> None:
        super().__init__(f"This {what} is restricted, expecting header '{header}'")
        self.caller = caller


class TooOften(ServingError):
    """The caller asks more often than its key allows. `retry_after_s` is when the next request may come."""

    def __init__(self, caller: str, per_second: float, retry_after_s: float) -> None:
        super().__init__(f"'{caller}' asks too often: its key allows {per_second:g} requests per second")
        self.caller = caller
        self.retry_after_s = retry_after_s


class ModelNotFound(ServingError):
    """No such model, no such version, or no version that could answer."""

    def __init__(self, model: str, reason: str = "is not found") -> None:
        super().__init__(f"Request for unknown model: '{model}' {reason}")
        self.model = model


class StatisticsUnknown(ServingError):
    """Statistics of a model that is unknown or not ready."""

    def __init__(self, model: str) -> None:
        super().__init__(f"requested model '{model}' is not available")


class VersionMalformed(ServingError):
    """A version that is neither a number nor, of a model with labels, a label."""


class ModelNotReady(ServingError):
    """The version exists but does not serve (yet, or any more)."""


class RouteNotFound(ServingError):
    """A path that this server does not have."""


class MethodNotAllowed(ServingError):
    """A path that exists, asked with another verb."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed on {path}; use {allowed}")
        self.allowed = allowed


class NotSupported(ServingError):
    """Understood, and not offered here."""


class RegionUnknown(ServingError):
    """A region of shared memory that nobody has registered."""

    def __init__(self, kind: str, region: str) -> None:
        super().__init__(f"Unable to find {kind} shared memory region: '{region}'")


class QueueFull(ServingError):
    """As many requests wait as may wait. `retry_after_s` is when a place is likely to be free.

    `why` is the rest of the sentence where it is not their number that is the limit.
    """

    def __init__(self, model: str, waiting: int, retry_after_s: float, why: str = "") -> None:
        super().__init__(
            f"Exceeds maximum queue size: model '{model}' already has {waiting} requests waiting{why}"
        )
        self.model = model
        self.waiting = waiting
        self.retry_after_s = retry_after_s


class TooLate(ServingError):
    """A request that cannot be answered within its model's latency target, as far as anybody can tell."""

    def __init__(self, model: str, expected_s: float, target_s: float) -> None:
        super().__init__(
            f"Exceeds maximum queue size: model '{model}' would answer in {expected_s * 1e3:.0f} ms, "
            f"and its latency target is {target_s * 1e3:g} ms"
        )
        self.model = model
        self.retry_after_s = max(0.0, expected_s - target_s)


class NoRoom(ServingError):
    """A version that is to be loaded for this request, and whose memory others need at this moment."""

    def __init__(self, model: str, why: str, retry_after_s: float) -> None:
        super().__init__(f"model '{model}' cannot be loaded now: {why}; try again")
        self.model = model
        self.retry_after_s = retry_after_s


class ServerBusy(ServingError):
    """As many requests are in flight as may be, over all models."""

    def __init__(self, in_flight: int) -> None:
        super().__init__(f"the server already has {in_flight} requests in flight")


class StreamsFull(ServingError):
    """As many streams are open as may be, over all callers; the sentence names the option."""


class AnswersUnread(ServingError):
    """The caller of a stream has left its answers unread for too long; the sentence names the option."""


class DeadlineExceeded(ServingError):
    """The request's time ran out before its answer was there."""

    def __init__(self, model: str) -> None:
        super().__init__(f"Request timeout expired for model '{model}'")


class RequestCancelled(ServingError):
    """The caller left or cancelled; nobody reads this sentence but the log."""

    def __init__(self, model: str) -> None:
        super().__init__(f"request for model '{model}' was cancelled by its caller")


class ServerStopping(ServingError):
    """The server is on its way out and takes nothing new."""

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no new requests")


class TierUnavailable(ServingError):
    """Another tier did not answer: it has no endpoint that could, or was lost on the way.

    `stage` is the tier's. `untouched` says that the request cannot have begun there.
    """

    def __init__(
        self, stage: StageName, model: str, why: str, *, retry_after_s: float = 1.0, untouched: bool = False
    ) -> None:
        super().__init__(f"the {stage} tier cannot answer for model '{model}': {why}")
        self.stage = stage
        self.retry_after_s = retry_after_s
        self.untouched = untouched


class TierFailed(ServingError):
    """Another tier failed in a way that it has no words for: a fault of ours, and its log has the details."""

    def __init__(self, stage: StageName, reason: str) -> None:
        super().__init__(f"the {stage} tier failed: {reason}")
        self.stage = stage


class ControlRefused(ServingError):
    """Load or unload where the operator has not allowed it."""

    def __init__(self) -> None:
        super().__init__("explicit model load / unload is not allowed if polling is enabled")


class LoadUnknown(ServingError):
    """Load of a name that no repository can offer."""

    def __init__(self, model: str, reason: str = "") -> None:
        super().__init__(
            f"failed to load '{model}', failed to poll from model repository"
            + (f": {reason}" if reason else "")
        )


class LoadFailed(ServingError):
    """A version was tried and did not come up."""

    def __init__(self, model: str, version: int, reason: str) -> None:
        super().__init__(
            f"load failed for model '{model}': version {version} is at UNAVAILABLE state: {reason}"
        )


class InferenceFailed(ServingError):
    """The model raised while it ran: its fault, not the caller's and not the server's."""

    def __init__(self, model: str, version: int, reason: str) -> None:
        super().__init__(f"model '{model}' version {version} failed: {reason}")


class RuntimeDown(ServingError):
    """The process that the model runs in ended under this run, or is not there: to ask again may help."""


class RuntimeFull(ServingError):
    """The process that the model runs in shares memory with this one, and other runs have it: the sentence
    says of which model. `retry_after_s` is a guess."""

    def __init__(self, why: str, retry_after_s: float = 1.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class StageFailed(ServingError):
    """Pre- or post-processing code raised; the traceback is in the log under `request_id`."""

    def __init__(self, model: str, version: int, stage: str, request_id: str) -> None:
        super().__init__(
            f"the {stage} stage of model '{model}' version {version} failed; "
            f"the server's log has the details under request id {request_id}"
        )
