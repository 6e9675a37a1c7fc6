"""How channels to other tiers are opened: plainly, or so that each side shows a certificate of a tier."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import grpc
import structlog

from server.security.certificates import CertificateFiles, CertificatesUnusable

log = structlog.get_logger(__name__)

Options = Sequence[tuple[str, Any]]


class Channels:
    """`files` are ours, and the CA that signs for every tier; None for no TLS.

    They are read whenever a channel is opened, so those that replace them are used from the next one on; what
    cannot be used leaves those before it.
    """

    def __init__(self, files: CertificateFiles | None = None) -> None:
        """Raises `CertificatesUnusable`."""
        self._files = files
        self._newest = None if files is None else files.read()

    def open(self, address: str, host: str, options: Options) -> Any:
        """A channel to an address. The certificate there has to be for `host`, as the operator writes it."""
        if self._files is None or self._newest is None:
            return grpc.aio.insecure_channel(address, options=options)
        try:
            self._newest = self._files.read()
        except CertificatesUnusable as fault:
            log.error("certificate_unusable", file=str(self._files.certificate), why=str(fault))
        found = self._newest
        credentials = grpc.ssl_channel_credentials(found.ca, found.key, found.chain)
        if _is_name(host):
            options = (*options, ("grpc.ssl_target_name_override", host))
        return grpc.aio.secure_channel(address, credentials, options=options)


PLAIN = Channels()


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(host)
    return False
