"""What tiers might report, written shortly."""

from server.domain.state import State
from server.domain.tier import VersionReport
from server.tiers.live import Standing

ALL = ("pre", "predict", "post")


def report(content: str, state: State = State.READY, stages=ALL, **facts) -> VersionReport:
    return VersionReport(model="m", version=1, content=content, state=state, stages=stages, **facts)


def standing(stage: str, *reports: VersionReport, ready: bool = True, address: str = "a:1") -> Standing:
    versions = {(each.model, each.version): each for each in reports}
    return Standing(stage=stage, address=address, ready=ready, versions=versions)


def every(*reports: VersionReport) -> list[Standing]:
    """One process of each tier, all of which say the same."""
    return [standing(stage, *reports) for stage in ALL]
