"""The servers that ours is measured beside, and what each of them speaks.

How a peer is set up stands in its module in `serve/`, its packages in its file in `requirements/`.
"""

from dataclasses import dataclass

from benchmarks.call import Door
from benchmarks.codec import OPEN_INFERENCE, Speech
from benchmarks.peers.plain import PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """
    module        in `serve/`, run as a program with the `words`
    environment   its file in `requirements/`; empty for our own environment
    """

    name: str
    module: str
    doors: tuple[Door, ...]
    environment: str = ""
    speech: Speech = OPEN_INFERENCE
    words: tuple[str, ...] = ()


PROTOTYPE = Peer(name="prototype", module="prototype", doors=tuple(Door))
TRITON = Peer(name="pytriton", module="triton_server", environment="pytriton", doors=tuple(Door))
TRITON_DELAYED = Peer(
    name="pytriton-delay",
    module="triton_server",
    environment="pytriton",
    doors=tuple(Door),
    words=("delayed",),
)

PEERS = {
    peer.name: peer
    for peer in (
        PROTOTYPE,
        TRITON,
        TRITON_DELAYED,
        Peer(
            name="mlserver",
            module="mlserver_runtime",
            environment="mlserver",
            doors=(Door.JSON, Door.GRPC),
        ),
        Peer(name="kserve", module="kserve_model", environment="kserve", doors=tuple(Door)),
        Peer(
            name="litserve", module="litserve_api", environment="litserve", doors=(Door.JSON,), speech=PLAIN
        ),
        Peer(
            name="bentoml", module="bentoml_service", environment="bentoml", doors=(Door.JSON,), speech=PLAIN
        ),
        Peer(name="ray", module="ray_deployment", environment="ray", doors=(Door.JSON,), speech=PLAIN),
    )
}
