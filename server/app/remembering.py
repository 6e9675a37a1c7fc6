"""What outlives the process, where the operator gives it a place (`--state-dir`)."""

from pathlib import Path

from server.lifecycle.histories import Histories
from server.settings import Settings


def histories_of(settings: Settings) -> Histories:
    """What became of versions, remembered where there is a place for it."""
    return Histories(settings.state_dir / "history" if settings.state_dir is not None else None)


def labels_kept(settings: Settings) -> Path | None:
    """Where what calls say of labels outlives the process."""
    return settings.state_dir / "labels.json" if settings.state_dir is not None else None
