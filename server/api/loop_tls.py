"""TLS on a port of the event loop, with a certificate that may be replaced while connections are open."""

import ssl
from typing import Any

from server.security.certificates import CertificateFiles

HANDSHAKE_S = 10.0
FAREWELL_S = 0.5
"""For a client to confirm that a connection ends, which one that is idle in a pool never does."""


class LoopTls:
    """What a connection begins with. Those that are open keep what they began with."""

    def __init__(self, files: CertificateFiles, protocol: str) -> None:
        """`protocol` is what is spoken here, as ALPN names it. Raises `CertificatesUnusable`."""
        self._files = files
        self._protocol = protocol
        self._newest = files.context(protocol)
        self.context = files.context(protocol)
        self.context.sni_callback = self._begin

    def for_server(self) -> dict[str, Any]:
        """What the loop's `create_server` is told."""
        return {
            "ssl": self.context,
            "ssl_handshake_timeout": HANDSHAKE_S,
            "ssl_shutdown_timeout": FAREWELL_S,
        }

    def read_again(self) -> None:
        """Raises `CertificatesUnusable`, and then all stays as it was."""
        self._newest = self._files.context(self._protocol)

    def _begin(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL asks before it chooses a certificate, whether the client has named a host or not."""
        connection.context = self._newest
