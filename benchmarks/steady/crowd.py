"""Many models, so that one of them is asked among others."""

import shutil
from pathlib import Path

from benchmarks.models import MODELS, lay


def lay_crowd(repository: Path, count: int) -> None:
    """`tiny`, and copies of it up to so many."""
    lay([MODELS["tiny"]], repository)
    for number in range(1, count):
        copy = repository / f"tiny_{number}"
        shutil.copytree(repository / "tiny", copy)
        config = copy / "config.pbtxt"
        config.write_text(config.read_text().replace('"tiny"', f'"{copy.name}"'))
