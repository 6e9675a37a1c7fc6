"""The files that load calls brought: private folders, kept for as long as something may read them."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class BroughtFiles:
    """Entered once; leaving removes all of them."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._folders: dict[str, list[Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    @property
    def root(self) -> Path:
        """Where private folders are made."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="tercet-"))
        return self._root

    def add(self, model: str, folder: Path) -> None:
        self._folders.setdefault(model, []).append(folder)

    def folders(self, model: str, before: Path | None = None) -> Sequence[Path]:
        """The oldest first; all of a model, or those that came before this one, which may be none of them."""
        folders = self._folders.get(model, [])
        return folders[: folders.index(before)] if before in folders else list(folders)

    async def remove(self, model: str, folders: Sequence[Path]) -> None:
        """Nothing is served from these any more."""
        left = [each for each in self._folders.pop(model, []) if each not in folders]
        if left:
            self._folders[model] = left
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
