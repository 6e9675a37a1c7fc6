"""TLS on a port of grpcio's, with a certificate that may be replaced while connections are open."""

from typing import Any

import grpc

from server.security.certificates import CertificateFiles


class GrpcioTls:
    """What a connection begins with. Those that are open keep what they began with."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises `CertificatesUnusable`."""
        self._files = files
        self._newest = self._told = self._read()

    def read_again(self) -> None:
        """Raises `CertificatesUnusable`, and then all stays as it was."""
        self._newest = self._read()

    def credentials(self) -> Any:
        """For the server that listens, which asks before each connection whether anything is new."""
        return grpc.dynamic_ssl_server_credentials(
            self._newest, self._if_new, require_client_authentication=self._files.ca is not None
        )

    def _if_new(self) -> Any:
        """On a thread of gRPC's."""
        newest = self._newest
        if newest is self._told:
            return None
        self._told = newest
        return newest

    def _read(self) -> Any:
        found = self._files.read()
        return grpc.ssl_server_certificate_configuration([(found.key, found.chain)], found.ca)
