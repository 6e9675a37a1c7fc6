"""What code of the tests has seen: version folders have no other way to hand arrays to a test."""

from typing import Any

arrays: list[tuple[str, Any]] = []
