"""What outlives the process, where the operator gives it a place (`--state-dir`)."""

from pathlib import Path

from server.lifecycle.histories import Histories
from server.lifecycle.prepared import PreparedModels
from server.settings import Settings


def histories_of(settings: Settings) -> Histories:
    """What became of versions, remembered where there is a place for it."""
    return Histories(settings.state_dir / "history" if settings.state_dir is not None else None)


def labels_kept(settings: Settings) -> Path | None:
    """Where what calls say of labels outlives the process."""
    return settings.state_dir / "labels.json" if settings.state_dir is not None else None


def prepared_models(settings: Settings) -> PreparedModels | None:
    """Where models are kept as their runtime opens them fastest; None where there is no place for it."""
    if settings.state_dir is None or not settings.prepared_models_bytes:
        return None
    return PreparedModels(
        settings.state_dir / "prepared",
        settings.prepared_models_bytes,
        auto_complete=not settings.disable_auto_complete_config,
    )
