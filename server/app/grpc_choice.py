"""Who answers `ModelInfer`: our own front, which is fast, or grpcio, which knows every option."""

import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from server.settings import Settings, options

GRPCIO_ALONE = ("grpc_infer_response_compression_level",)
"""Options that the native front does not have."""


class GrpcFrontRefused(Exception):
    """The front that was asked for cannot do what else was asked for."""


class GrpcFront(NamedTuple):
    """`why` is for the log."""

    front: str
    why: str


def needs_grpcio(settings: Settings) -> list[str]:
    """The options, as they are written, that differ from their default and that grpcio alone has."""
    default = Settings()
    return [
        options()[field].flag for field in GRPCIO_ALONE if getattr(settings, field) != getattr(default, field)
    ]


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
        need_grpcio=needs_grpcio(settings),
        is_tier=settings.role in ("pre", "predict", "post"),
        has_folder=has_temporary_folder(),
    )


def choose(
    wanted: str,
    *,
    need_grpcio: Sequence[str],
    is_tier: bool = False,
    has_folder: bool = True,
) -> GrpcFront:
    """`wanted` is auto, native or grpcio. A tier is asked by streams, which are grpcio's.

    Without a folder for temporary files, the native front has no place for the socket behind it.

    Raises `GrpcFrontRefused` for a native front that cannot be had.
    """
    if wanted == "grpcio":
        return GrpcFront("grpcio", "--grpc-front=grpcio")
    if need_grpcio:
        named = " and ".join(need_grpcio)
        if wanted == "native":
            raise GrpcFrontRefused(
                f"--grpc-front=native cannot do what {named} asks for: "
                "leave one of them out, or take --grpc-front=grpcio"
            )
        return GrpcFront("grpcio", f"the native front does not have {named}")
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
