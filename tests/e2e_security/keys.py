"""Keys as an operator would write them down: one for each kind of caller."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

KEYS = {
    "asker": ("key-of-the-asker", ["inference"]),
    "operator": ("key-of-the-operator", ["control"]),
    "scraper": ("key-of-the-scraper", ["metrics"]),
    "owner": ("key-of-the-owner", ["inference", "control", "metrics"]),
}


def entry(name: str, key: str, rights: list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(key.encode()).hexdigest(), "rights": rights, **more}


def write_keys(file: Path, *more: dict[str, Any], leave_out: str = "") -> Path:
    """All of `KEYS` but one, and more; put in place at once, as a reader may come at any moment."""
    entries = [entry(name, *rest) for name, rest in KEYS.items() if name != leave_out]
    new = file.with_suffix(".new")
    new.write_text(json.dumps([*entries, *more]))
    return new.replace(file)


def bearer(name: str) -> dict[str, str]:
    """The header of a caller; none for nobody, and a wrong key for a stranger."""
    if name == "nobody":
        return {}
    return {"authorization": f"Bearer {KEYS[name][0] if name in KEYS else 'no-such-key'}"}
