"""The tiers that this process asks, as the settings name them."""

from collections.abc import Callable, Sequence
from functools import partial

from server.lifecycle.remote import Queue
from server.observe.copies import Copies
from server.settings import Settings
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.link import Link
from server.stages.hop.sender import Way
from server.tiers.directory import Directory
from server.tiers.foreign import ForeignServer
from server.tiers.foreign_address import SCHEME, ForeignAddress
from server.tiers.place import Place, place_of

CALLS = 4
"""Under way at once at a server that is not ours: what comes meanwhile leaves together in the next."""


def tiers_ahead(settings: Settings, copies: Copies) -> tuple[Directory, Forwarding]:
    """The processes that are asked, and the way of requests from one of them to the next."""
    requests, most_bytes = settings.grpc_max_in_flight, settings.max_queue_bytes

    def ahead(way: Way) -> Queue:
        return forwarding.sender(way)

    foreign: Sequence[Callable[..., ForeignServer]] = [
        partial(
            ForeignServer,
            ForeignAddress.parse(each),
            ahead,
            max_requests=requests,
            max_bytes=most_bytes,
            max_calls=CALLS,
            copies=copies,
        )
        for each in settings.predict_endpoints
        if each.startswith(SCHEME)
    ]
    directory = Directory(
        {
            "pre": _places(settings.pre_endpoints),
            "predict": _places(settings.predict_endpoints),
            "post": _places(settings.post_endpoints),
        },
        name=f"{settings.id} ({settings.role})",
        link=partial(Link, max_requests=requests, max_bytes=most_bytes, copies=copies),
        foreign=foreign,
    )
    forwarding = Forwarding(directory, max_waiting=settings.max_queue_size)
    return directory, forwarding


def _places(endpoints: Sequence[str]) -> list[Place]:
    return [place_of(each) for each in endpoints if not each.startswith(SCHEME)]
