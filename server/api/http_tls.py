"""TLS on a door of HTTP, with a certificate that may be replaced while connections are open."""

import ssl

from server.security.certificates import CertificateFiles


class HttpTls:
    """What a connection begins with. Those that are open keep what they began with.

    context   for the server that listens
    """

    def __init__(self, files: CertificateFiles) -> None:
        """Raises `CertificatesUnusable`."""
        self._files = files
        self._newest = files.context()
        self.context = files.context()
        self.context.sni_callback = self._begin

    def read_again(self) -> None:
        """Raises `CertificatesUnusable`, and then all stays as it was."""
        self._newest = self._files.context()

    def _begin(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL asks before it chooses a certificate, whether the client has named a host or not."""
        connection.context = self._newest
