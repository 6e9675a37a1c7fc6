"""Which endpoint a request with a key goes to: the same as all others of its key, while that is ready.

Pure. Rendezvous hashing (Thaler and Ravishankar, 1998): every endpoint is weighed by a hash of its address
and the key, and the heaviest has it. Nothing is remembered, so all gateways agree without a word, and a lost
endpoint moves its own keys and no others. A key that only wants its replica for what that has cached may be
taken elsewhere where far more than a share of the work lies already, as in consistent hashing with bounded
loads (Mirrokni, Thorup and Zadimoghaddam, 2018): the next by weight has it then. A sequence stays: what it
has built up is there and nowhere else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from server.domain.request import Parameters

ROUTING_KEY, SEQUENCE = "tercet-routing-key", "sequence_id"
"""Parameters of a request: of ours, and of Triton's clients."""

MOST = 1.25
"""Times the average work over all endpoints, beyond which one is given no more by a key that may move."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a request is sent by. `stays` with its endpoint, however much work lies there."""

    text: str
    stays: bool = False

    @classmethod
    def of(cls, parameters: Parameters) -> Self | None:
        """None for a request that has none. A sequence 0, or without a name, is none."""
        sequence = parameters.get(SEQUENCE)
        if sequence and type(sequence) in (int, str):
            return cls(f"{SEQUENCE} {sequence}", stays=True)
        key = parameters.get(ROUTING_KEY)
        if key and type(key) in (int, str):
            return cls(f"{ROUTING_KEY} {key}")
        return None


def ranked(key: str, addresses: Sequence[str]) -> list[str]:
    """The addresses by their weight for a key, the heaviest first."""
    return sorted(addresses, key=lambda address: (_weight(key, address), address), reverse=True)


def choose(key: Key, work: Mapping[str, int], rows: int) -> str:
    """The address of one of the endpoints, of which there is at least one; `work` are the rows there.

    rows   of the request
    """
    order = ranked(key.text, list(work))
    if key.stays:
        return order[0]
    bound = MOST * (sum(work.values()) + max(1, rows)) / len(work)
    return next(address for address in order if work[address] < bound)


def _weight(key: str, address: str) -> bytes:
    return blake2b(f"{key}\0{address}".encode(errors="surrogatepass"), digest_size=8).digest()
