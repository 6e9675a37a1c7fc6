"""Who may ask what of this process, as the settings have it: the gates of its doors, and their TLS."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from server.api.grpcio_tls import GrpcioTls
from server.api.loop_tls import LoopTls
from server.app.ahead import tier_files
from server.app.grpc_choice import chosen_by
from server.app.refused import StartRefused
from server.security.certificates import CertificateFiles, CertificatesUnusable
from server.security.following import Stamps, follow, stamps_of
from server.security.gate import Gate
from server.security.guard import Guard
from server.security.keys import KeyRing, KeysUnusable, read_keys
from server.security.restricted import RestrictionInvalid, read_grpc, read_http
from server.security.rights import ALL, Right, Rights
from server.settings import Settings

log = structlog.get_logger(__name__)

Tls = TypeVar("Tls", LoopTls, GrpcioTls)

HTTP, GRPC = "http/1.1", "h2"
"""As ALPN names them."""


class Security:
    """The gates, and the task that keeps what they know up to date.

    http, grpc, metrics   the gate of each door
    http_tls, grpc_tls    None for none; the latter of the native front
    grpcio_tls            where that answers by itself
    metrics_tls           asks for no certificate: whoever looks whether a process is well has none to show
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `StartRefused`."""
        self._keys_file = settings.api_keys
        self._keys_since = stamps_of([] if settings.api_keys is None else [settings.api_keys])
        self._token_keys = _token_keys(settings)
        anonymous = _anonymous(settings)
        self._guard: Guard | None = None
        if settings.api_keys is not None or settings.jwt_jwks or anonymous != ALL:
            keys = None if settings.api_keys is None else _first_keys(settings.api_keys)
            tokens = None if self._token_keys is None else self._token_keys.keys
            self._guard = Guard(anonymous, keys=keys, tokens=tokens)
            if self._token_keys is not None:
                self._token_keys.tell(self._guard.forget)
        try:
            http, grpc = read_http(settings.http_restricted_api), read_grpc(settings.grpc_restricted_protocol)
        except RestrictionInvalid as fault:
            raise StartRefused(str(fault)) from None
        self.http = Gate(self._guard, http)
        self.grpc = Gate(self._guard, grpc)
        self.metrics = Gate(self._guard, read_http(()))
        self._files: list[tuple[CertificateFiles, LoopTls | GrpcioTls, Stamps]] = []
        try:
            self._open_tls(settings)
        except CertificatesUnusable as fault:
            raise StartRefused(str(fault)) from None

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches the doors may ask, without anything to show."""
        return self.http.is_open and self.grpc.is_open and not self._files

    async def keep_up(self, closing: asyncio.Event) -> None:
        """Read anew what changes, until `closing` is set."""
        async with asyncio.TaskGroup() as tasks:
            if self._keys_file is not None:
                tasks.create_task(follow([self._keys_file], self._read_keys, closing, since=self._keys_since))
            if self._token_keys is not None:
                tasks.create_task(self._token_keys.keep_up(closing))
            for files, tls, since in self._files:
                read = partial(_read_certificates, files, tls)
                tasks.create_task(follow(files.all, read, closing, since=since))

    def _open_tls(self, settings: Settings) -> None:
        """Raises `CertificatesUnusable`, and `GrpcFrontRefused` for a front that cannot be had."""
        self.http_tls: LoopTls | None = None
        self.metrics_tls: LoopTls | None = None
        self.grpc_tls: LoopTls | None = None
        self.grpcio_tls: GrpcioTls | None = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            files = CertificateFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
            self.http_tls = self._opened(files, partial(LoopTls, protocol=HTTP))
            self.metrics_tls = self._opened(replace(files, ca=None), partial(LoopTls, protocol=HTTP))
        grpc_files = _grpc_files(settings)
        if grpc_files is None:
            return
        if chosen_by(settings).front == "native":
            self.grpc_tls = self._opened(grpc_files, partial(LoopTls, protocol=GRPC))
        else:
            self.grpcio_tls = self._opened(grpc_files, GrpcioTls)

    def _opened(self, files: CertificateFiles, kind: Callable[[CertificateFiles], Tls]) -> Tls:
        since = stamps_of(files.all)
        tls = kind(files)
        self._files.append((files, tls, since))
        return tls

    def _read_keys(self) -> None:
        """Those that cannot be read leave those before them in force."""
        assert self._keys_file is not None
        assert self._guard is not None
        try:
            self._guard.bring(_keys(self._keys_file))
        except (OSError, KeysUnusable) as fault:
            log.error("api_keys_unusable", file=str(self._keys_file), why=_why(fault))
        else:
            log.info("api_keys_read", file=str(self._keys_file))


def _grpc_files(settings: Settings) -> CertificateFiles | None:
    """A tier's port is for tiers. Triton's options are about gRPC alone, so they go before ours."""
    if settings.role in ("pre", "predict", "post"):
        return tier_files(settings)
    certificate, key, ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if settings.grpc_use_ssl or settings.grpc_use_ssl_mutual:
        certificate, key = settings.grpc_server_cert, settings.grpc_server_key
        ca = settings.grpc_root_cert if settings.grpc_use_ssl_mutual else None
    return None if certificate is None or key is None else CertificateFiles(certificate, key, ca)


def _read_certificates(files: CertificateFiles, tls: LoopTls | GrpcioTls) -> None:
    """Those that cannot be used leave those before them in force."""
    try:
        tls.read_again()
    except CertificatesUnusable as fault:
        log.error("certificate_unusable", file=str(files.certificate), why=str(fault))
    else:
        log.info("certificate_read", file=str(files.certificate))


def _token_keys(settings: Settings) -> Any:
    """A `server.app.token_keys.TokenKeys`; None where no tokens are asked for. Raises `StartRefused`."""
    if not settings.jwt_jwks:
        return None
    try:
        from server.app.token_keys import TokenKeys  # here: PyJWT is an extra
        from server.security.tokens import KeySetUnusable
    except ImportError:
        raise StartRefused("--jwt-jwks needs PyJWT: pip install 'tercet[jwt]'") from None
    try:
        return TokenKeys(settings)
    except KeySetUnusable as fault:
        raise StartRefused(f"--jwt-jwks: {settings.jwt_jwks} cannot be used: {fault}") from None


def _anonymous(settings: Settings) -> Rights:
    written = settings.anonymous_rights
    if not written:
        return frozenset() if settings.api_keys is not None or settings.jwt_jwks else ALL
    return frozenset() if written == "none" else frozenset(Right(each) for each in written.split(","))


def _first_keys(file: Path) -> KeyRing:
    try:
        return _keys(file)
    except (OSError, KeysUnusable) as fault:
        raise StartRefused(f"--api-keys: {file} cannot be used: {_why(fault)}") from None


def _keys(file: Path) -> KeyRing:
    return read_keys(file.read_bytes())


def _why(fault: Exception) -> str:
    return str(fault.strerror) if isinstance(fault, OSError) and fault.strerror else str(fault)
