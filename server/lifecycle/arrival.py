"""How a version comes to serve: loaded beside what serves, in its place, or once it is asked for. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from server.domain.configuration import SWAP_POLICY, ModelConfig, SwapPolicy


class Arrival(StrEnum):
    """LOAD: now, beside what serves. IDLE: when it is asked for. FREE_FIRST: in place of what serves."""

    LOAD = "load"
    IDLE = "idle"
    FREE_FIRST = "free-first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a version finds that is verified and to serve.

    is_described   what clients see of it is known without loading it
    is_guessed     that is known of other content of its model: enough until it is loaded, which is at once
    on_request     versions may be loaded when they are asked for
    is_pinned      it is to be in memory always
    was_known      it was verified before, by an earlier process or load
    replaces       something in memory is to go for it
    fits_beside    there can be memory for both
    fits_now       there is memory for it without evicting anything
    """

    is_described: bool
    is_guessed: bool
    on_request: bool
    is_pinned: bool
    was_known: bool
    replaces: bool
    fits_beside: bool
    fits_now: bool


def arrive(found: Situation, policy: SwapPolicy) -> Arrival:
    """A version that replaces one in memory is in memory, too, as it will be asked for."""
    if found.replaces:
        frees = policy is SwapPolicy.FREE_FIRST or (policy is SwapPolicy.AUTO and not found.fits_beside)
        return Arrival.FREE_FIRST if frees and (found.is_described or found.is_guessed) else Arrival.LOAD
    waits = found.on_request and found.is_described and not found.is_pinned
    return Arrival.IDLE if waits and (found.was_known or not found.fits_now) else Arrival.LOAD


def swap_policy(config: ModelConfig | None, otherwise: SwapPolicy) -> SwapPolicy:
    """What a configuration says, or else the server."""
    said = config.parameters.get(SWAP_POLICY, "") if config is not None else ""
    return SwapPolicy(said) if said else otherwise
