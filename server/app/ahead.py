"""The tiers that this process asks, as the settings name them."""

from collections.abc import Callable, Sequence
from functools import partial

from server.app.refused import StartRefused
from server.lifecycle.remote import Queue
from server.observe.copies import Copies
from server.security.certificates import CertificateFiles, CertificatesUnusable
from server.settings import Settings
from server.stages.hop.channels import Channels
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.link import Link
from server.stages.hop.way import Way
from server.tiers.directory import Directory
from server.tiers.foreign import ForeignServer
from server.tiers.foreign_address import SCHEME, ForeignAddress
from server.tiers.place import Place, place_of

CALLS = 4
"""Under way at once at a server that is not ours: what comes meanwhile leaves together in the next."""


def tiers_ahead(settings: Settings, copies: Copies) -> tuple[Directory, Forwarding]:
    """The processes that are asked, and the way of requests from one of them to the next.

    Raises `StartRefused`.
    """
    try:
        channels = Channels(tier_files(settings))
    except CertificatesUnusable as fault:
        raise StartRefused(str(fault)) from None
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
            channels=channels,
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
        channels=channels,
    )
    forwarding = Forwarding(directory, max_waiting=settings.max_queue_size)
    return directory, forwarding


def tier_files(settings: Settings) -> CertificateFiles | None:
    """By which this process is known to other tiers, and they to it; the three come together."""
    if settings.tier_tls_certificate is None or settings.tier_tls_key is None:
        return None
    return CertificateFiles(settings.tier_tls_certificate, settings.tier_tls_key, settings.tier_tls_ca)


def _places(endpoints: Sequence[str]) -> list[Place]:
    return [place_of(each) for each in endpoints if not each.startswith(SCHEME)]
