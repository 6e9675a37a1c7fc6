"""Who answers `ModelInfer`: our own front, which is fast, or grpcio, which serves all other calls as well."""

import tempfile
from typing import NamedTuple

from server.settings import Settings


class GrpcFrontRefused(Exception):
    """The front that was asked for cannot be had here."""


class GrpcFront(NamedTuple):
    """`why` is for the log."""

    front: str
    why: str


def has_temporary_folder() -> bool:
    """Whether a file can be made anywhere: not where the root is read-only and no /tmp is mounted."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def chosen_by(settings: Settings) -> GrpcFront:
    """Raises `GrpcFrontRefused` for a native front that cannot be had."""
    return choose(
        settings.grpc_front,
        is_tier=settings.role in ("pre", "predict", "post"),
        has_folder=has_temporary_folder(),
    )


def choose(wanted: str, *, is_tier: bool = False, has_folder: bool = True) -> GrpcFront:
    """`wanted` is auto, native or grpcio. A tier is asked by streams, which are grpcio's.

    Without a folder for temporary files, the native front has no place for the socket behind it.

    Raises `GrpcFrontRefused` for a native front that cannot be had.
    """
    if wanted == "grpcio":
        return GrpcFront("grpcio", "--grpc-front=grpcio")
    if not has_folder:
        if wanted == "native":
            raise GrpcFrontRefused(
                "--grpc-front=native needs a folder for temporary files: mount a writable /tmp, or set TMPDIR"
            )
        return GrpcFront(
            "grpcio", "there is no folder for temporary files; a writable /tmp brings the native front"
        )
    if is_tier and wanted == "auto":
        return GrpcFront("grpcio", "other tiers ask by streams, which the native front only passes on")
    return GrpcFront("native", "nothing asked for needs grpcio")
