"""Repositories of tiers that are deployed at different moments: a folder for each, and marked versions.

A marked version answers with which content each of its stages was: 1 * mark by its pre.py, 10 * mark by its
model, 100 * mark by its post.py, all added to x.
"""

import shutil
from pathlib import Path
from uuid import uuid4

from server.domain.stage import STAGES, StageName
from tests.lifecycle.shelf import plus

CODE = """
def {name}(tensors):
    return {{key: array + {amount} for key, array in tensors.items()}}
"""


class Folders:
    """One repository for each tier. A version is moved in whole, so it is taken up at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for stage in STAGES:
            self.of(stage).mkdir(parents=True)

    def of(self, stage: StageName) -> Path:
        return self._folder / stage

    def put(
        self,
        model: str,
        version: int,
        mark: int,
        *stages: StageName,
        only: tuple[StageName, ...] = STAGES,
        policy: str = "all {}",
        model_file: bytes = b"",
    ) -> None:
        """Deploy a version with these stages (all, if none is named) to the tiers in `only`.

        `policy` is that of a model which is new to them; `model_file` takes the place of a marked one.
        """
        made = self._folder / uuid4().hex
        made.mkdir()
        (made / "model.onnx").write_bytes(model_file or plus(10.0 * mark))
        if "pre" in (stages or STAGES):
            (made / "pre.py").write_text(CODE.format(name="preprocess", amount=mark))
        if "post" in (stages or STAGES):
            (made / "post.py").write_text(CODE.format(name="postprocess", amount=100 * mark))
        for stage in only:
            self._move_in(made, self.of(stage) / model, version, policy)
        shutil.rmtree(made)

    def write(self, model: str, config: str) -> None:
        """A configuration, and an empty version 1 for an ensemble."""
        for stage in STAGES:
            (self.of(stage) / model / "1").mkdir(parents=True)
            (self.of(stage) / model / "config.pbtxt").write_text(config)

    def remove(self, model: str, version: int) -> None:
        for stage in STAGES:
            (self.of(stage) / model / str(version)).rename(self._folder / uuid4().hex)

    def _move_in(self, made: Path, model: Path, version: int, policy: str) -> None:
        if not model.exists():
            model.mkdir()
            (model / "config.pbtxt").write_text(f"max_batch_size: 8\nversion_policy {{ {policy} }}\n")
        copy = self._folder / uuid4().hex
        shutil.copytree(made, copy)
        if (model / str(version)).exists():
            (model / str(version)).rename(self._folder / uuid4().hex)
        copy.rename(model / str(version))
