"""How memory is shared between versions, as the operator wants it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.domain.configuration import SwapPolicy
from server.lifecycle.residency.accountant import NOTHING, Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How memory is shared.

    budgets          bytes by device; a device that is absent has no limit
    on_request       whether versions may be loaded when they are asked for, and evicted for others
    lazy_start       whether what was verified before is loaded only then
    swap             what becomes of what serves while its successor is loaded, unless a model says otherwise
    pinned           patterns of the names of models that never leave; a configuration may say so, too
    min_residency_s  how long a version that is asked for stays, unless a deadline is at stake
    patience_s       how long a load waits for others to come out of use, and then for their memory
    load_within_s    how long a load may take for those who wait for it after that; it goes on without them
    host_cache_bytes   of files of what left that are kept in the host's memory
    idle_unload_s    evict what was not asked for so long, need or no need; 0 for never
    """

    budgets: Bytes = field(default_factory=lambda: NOTHING)
    on_request: bool = False
    lazy_start: bool = False
    swap: SwapPolicy = SwapPolicy.AUTO
    pinned: Sequence[str] = ()
    min_residency_s: float = 1.0
    patience_s: float = 30.0
    load_within_s: float = 300.0
    host_cache_bytes: int = 0
    idle_unload_s: float = 0.0
