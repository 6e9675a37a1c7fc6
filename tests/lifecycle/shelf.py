"""Models on disk, and the offers that a repository would make of them."""

import hashlib
from pathlib import Path

import numpy as np
from onnx import helper

from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from tests.e2e.workshop import FLOAT, value, written


def plus(amount: float, width: int | str = 2) -> bytes:
    """y = x + amount: an answer tells which content gave it."""
    return written(
        [helper.make_node("Add", ["x", "amount"], ["y"])],
        [value("x", FLOAT, "n", width)],
        [value("y", FLOAT, "n", width)],
        amount=np.float32(amount),
    )


class Shelf:
    """One model's folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(
        self, version: int = 1, model: bytes = b"", file_name: str = "model.onnx", **texts: str
    ) -> VersionOffer:
        """Write a version folder, y = x + version unless told otherwise; `texts` are more files: pre_py."""
        folder = self.directory / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        files = {file_name: model or plus(version)}
        files |= {name.replace("_", "."): text.encode() for name, text in texts.items()}
        for name, content in files.items():
            (folder / name).write_bytes(content)
        code = {name: folder / f"{name}.py" for name in ("pre", "post") if f"{name}.py" in files}
        fingerprint = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        return VersionOffer(
            version=version, directory=folder, fingerprint=fingerprint, model_file=folder / file_name, **code
        )

    def offer(self, *versions: VersionOffer, config: ModelConfig | None = None, **facts) -> ModelOffer:
        """What the repository says of the model, with these of its versions chosen."""
        facts.setdefault("fingerprint", "as first configured")
        return ModelOffer(
            name=self.directory.name,
            directory=self.directory,
            config=config or ModelConfig(name=self.directory.name),
            versions={version.version: version for version in versions},
            on_disk=frozenset(int(folder.name) for folder in self.directory.glob("[0-9]*")),
            **facts,
        )

    def unreadable(self, problem: str) -> ModelOffer:
        """What the repository says while the model's configuration cannot be read."""
        return ModelOffer(name=self.directory.name, directory=self.directory, config=None, problem=problem)
