"""All dashboards, and the files that they are written to."""

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.dashboards import machine, memory, scheduling, tiers, traffic, versions

FOLDER = Path(__file__).parents[1] / "helm" / "tercet" / "files" / "dashboards"

DASHBOARDS = tuple(each.DASHBOARD for each in (traffic, scheduling, memory, versions, tiers, machine))
"""In the order in which a person would look."""


def written() -> Mapping[str, str]:
    """File name -> its text."""
    return {f"{each.uid}.json": json.dumps(each.json(), indent=2) + "\n" for each in DASHBOARDS}
