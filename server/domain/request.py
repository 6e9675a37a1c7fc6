"""One inference, asked and answered, in the words that every door and stage share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from server.domain.tensors import Array, Tensors
from server.observe.tracing.traced import Traced

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]
NO_PARAMETERS: Parameters = MappingProxyType({})
FOREVER = float("inf")


@dataclass(slots=True)
class InferRequest:
    """What a caller asks.

    version    as the caller wrote it; empty for the highest that is ready
    inputs     named arrays, viewed where possible, not yet held against the model's signature
    outputs    the names wanted, in the caller's order; empty for all
    deadline   of the monotonic clock, in seconds; `FOREVER` for none
    priority   1 is the highest; 0 is the model's default
    arrived    of the monotonic clock, in seconds
    rows       of the inputs, once they are known to fit the model's signature; 0 until then
    client     who asks, where clients have fair shares; all that are "" are one
    trace      of the few that are sampled
    """

    model: str
    version: str
    inputs: dict[str, Array]
    id: str = ""
    outputs: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=lambda: NO_PARAMETERS)
    deadline: float = FOREVER
    priority: int = 0
    arrived: float = 0.0
    rows: int = 0
    client: str = ""
    trace: Traced | None = None


@dataclass(slots=True)
class InferResponse:
    """What the caller gets: arrays in the order asked for, or in the model's own order.

    batch_rows, queue_ns, compute_ns   of the run that made them, for the access line
    """

    model: str
    version: str
    outputs: Tensors
    id: str = ""
    parameters: Parameters = field(default_factory=lambda: NO_PARAMETERS)
    batch_rows: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
