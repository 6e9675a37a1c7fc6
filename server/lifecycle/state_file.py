"""Files that outlive the process, written whole: a reader finds the old one or the new one, never a half."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Blocks; where `durable`, until the disk has it. Raises `OSError`, and then nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with half.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
