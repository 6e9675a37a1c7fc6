"""Which models never leave memory."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from server.domain.configuration import ModelConfig


def is_pinned(config: ModelConfig, patterns: Sequence[str]) -> bool:
    """Whether its configuration says so, or a pattern of the operator has its name."""
    return config.is_pinned or any(fnmatchcase(config.name, pattern) for pattern in patterns)
