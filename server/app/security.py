"""Who may ask what of this process, as the settings have it: the gates of its doors."""

import asyncio
from pathlib import Path

import structlog

from server.app.refused import StartRefused
from server.security.following import follow
from server.security.gate import Gate
from server.security.guard import Guard
from server.security.keys import KeyRing, KeysUnusable, read_keys
from server.security.restricted import RestrictionInvalid, read_grpc, read_http
from server.security.rights import ALL, Right, Rights
from server.settings import Settings

log = structlog.get_logger(__name__)


class Security:
    """The gates, and the task that keeps what they know up to date.

    http, grpc   the gates of what is asked over either; that of the metrics port is `metrics`
    """

    def __init__(self, settings: Settings) -> None:
        """Raises `StartRefused`."""
        self._keys_file = settings.api_keys
        anonymous = _anonymous(settings)
        self._guard: Guard | None = None
        if settings.api_keys is not None or settings.jwt_jwks or anonymous != ALL:
            keys = None if settings.api_keys is None else _first_keys(settings.api_keys)
            self._guard = Guard(anonymous, keys=keys)
        try:
            http, grpc = read_http(settings.http_restricted_api), read_grpc(settings.grpc_restricted_protocol)
        except RestrictionInvalid as fault:
            raise StartRefused(str(fault)) from None
        self.http = Gate(self._guard, http)
        self.grpc = Gate(self._guard, grpc)
        self.metrics = Gate(self._guard, read_http(()))

    @property
    def tells_apart(self) -> bool:
        """Whether not everybody may do everything."""
        return self._guard is not None

    async def keep_up(self, closing: asyncio.Event) -> None:
        """Read anew what changes, until `closing` is set."""
        if self._keys_file is not None:
            await follow([self._keys_file], self._read_keys, closing)

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
