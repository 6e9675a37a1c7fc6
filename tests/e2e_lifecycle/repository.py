"""A repository that changes while a server follows it, as people and their tools change one."""

import os
import shutil
import time
from itertools import count
from pathlib import Path

from tests.lifecycle.shelf import plus

TICK_S = 0.02
"""Longer than the kernel's file times are coarse, so that a move is seen to come after what was written."""


class Repository:
    """A folder of models, and a place beside it, on the same file system, to make things in."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "models"
        self._aside = folder / "aside"
        self._serial = count()
        self.path.mkdir(parents=True)
        self._aside.mkdir()

    def folder(self, model: str, version: int = 1) -> Path:
        return self.path / model / str(version)

    def write(
        self, model: str, version: int = 1, content: bytes = b"", config: str = "", file: str = "model.onnx"
    ) -> Path:
        """Write a version where it is served from: y = x + version unless told otherwise."""
        folder = self.folder(model, version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content or plus(version))
        if config:
            self.configure(model, config)
        return folder

    def configure(self, model: str, config: str) -> None:
        (self.path / model / "config.pbtxt").write_text(config)

    def move_in(self, model: str, version: int = 1, content: bytes = b"") -> None:
        """Make a version aside, and move it in by rename: the whole model where it is new."""
        made = self._new()
        folder = made / model / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(content or plus(version))
        time.sleep(TICK_S)
        if (self.path / model).exists():
            folder.rename(self.folder(model, version))
        else:
            folder.parent.rename(self.path / model)
        shutil.rmtree(made)

    def replace_file(self, model: str, version: int, content: bytes) -> None:
        """Put another model.onnx in the place of the one that is there, in one step."""
        made = self._new()
        (made / "model.onnx").write_bytes(content)
        os.replace(made / "model.onnx", self.folder(model, version) / "model.onnx")
        made.rmdir()

    def move_out(self, model: str, version: int | None = None) -> None:
        """Take a version, or the whole model, away in one step."""
        gone = self._new()
        (self.path / model if version is None else self.folder(model, version)).rename(gone / "gone")
        shutil.rmtree(gone)

    def _new(self) -> Path:
        made = self._aside / str(next(self._serial))
        made.mkdir()
        return made
