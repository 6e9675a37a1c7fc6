"""What a door may order: models to be served, or no longer."""

from collections.abc import Mapping
from typing import Protocol


class Control(Protocol):
    """Answered by the app, which joins repository and lifecycle.

    Raises `ControlRefused` where the control mode does not allow it.
    """

    async def load(
        self, model: str, config: str | None, files: Mapping[str, bytes], version: int | None = None
    ) -> None:
        """Serve a model, as its folder says or as these say instead; returns when it is ready.

        What an ensemble is made of is loaded along with it.

        config   a model configuration as JSON, in place of the one on disk; None for that one
        files    "<version>/<file>" -> content, in place of the folder's; then `config` is needed too
        version  this one alone, beside those that serve already; None for those of the version policy

        Raises `LoadUnknown` or `LoadFailed`.
        """
        ...

    async def unload(self, model: str, version: int | None = None, *, dependents: bool = False) -> None:
        """Serve a model, or one version of it, no longer; returns when requests reach it no more.

        With `dependents`, the models go too that were loaded only because this one is made of them, unless
        another ensemble needs them.

        Unknown names and versions are no fault.
        """
        ...
