"""The files of a certificate: read, and held against each other, before a door opens or anything changes."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class CertificatesUnusable(Exception):
    """The sentence names the file."""


class Certificates(NamedTuple):
    """PEM, as one reading found it. `ca` is what the other side's certificate has to be signed by."""

    chain: bytes
    key: bytes
    ca: bytes | None


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """All of PEM. With a `ca` whoever is at the other end has to show a certificate, too."""

    certificate: Path
    key: Path
    ca: Path | None = None

    @property
    def all(self) -> Sequence[Path]:
        return (self.certificate, self.key) if self.ca is None else (self.certificate, self.key, self.ca)

    def read(self) -> Certificates:
        """Raises `CertificatesUnusable`, also for a key that is not the certificate's."""
        found = self._read()
        self.context("h2")  # which reads the files by itself
        if self._read() != found:
            raise CertificatesUnusable(
                f"{self.certificate} and {self.key} were replaced while they were read"
            )
        return found

    def _read(self) -> Certificates:
        ca = None if self.ca is None else _bytes_of(self.ca)
        return Certificates(_bytes_of(self.certificate), _bytes_of(self.key), ca)

    def context(self, protocol: str) -> ssl.SSLContext:
        """For a server that speaks this, as ALPN names it. Raises `CertificatesUnusable`."""
        for file in self.all:
            _bytes_of(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise CertificatesUnusable(
                f"{self.certificate} and {self.key} are no certificate and its key, in PEM: {_why(error)}"
            ) from None
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except ssl.SSLError as error:
                raise CertificatesUnusable(f"{self.ca} has no certificate in PEM: {_why(error)}") from None
            context.verify_mode = ssl.CERT_REQUIRED
            # A client whose certificate is good no more is to show it again: by TLS 1.3, and by 1.2.
            context.num_tickets = 0
            context.options |= ssl.OP_NO_TICKET
        return context


def _no_password() -> str:
    """Else OpenSSL would ask at the terminal for it."""
    raise ValueError("the key is encrypted")


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificatesUnusable(f"{file} cannot be read: {error.strerror}") from None


def _why(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else str(error)) or "it is something else"
