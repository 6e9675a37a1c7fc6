"""Says whether files that somebody may still be writing have come to rest.

Pure: times are arguments. The scanner brings what it sees and when; it looks again when told.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from server.repository.snapshot import Folder

BROKEN_FACTOR = 10
"""A file whose container is not complete gets this many times the usual quiet before it counts as broken."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a look is taken: by our monotonic clock, and by the clock that file times are written in."""

    monotonic_s: float
    epoch_s: float

    def age_s(self, changed_ns: int) -> float:
        return self.epoch_s - changed_ns / 1e9


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen, and since when it has looked the same (seconds of the monotonic clock)."""

    seen: Hashable
    since_s: float

    def quiet_s(self, now_s: float) -> float:
        return now_s - self.since_s


def sight(before: Sighting | None, seen: Hashable, now_s: float, age_s: float) -> Sighting:
    """Note what is seen now.

    `age_s` is how long ago the youngest of the files changed by its own file system's clock; it counts
    at first sight only, as another machine's clock may be wrong.
    """
    if before is None:
        return Sighting(seen, now_s - max(age_s, 0.0))
    return before if before.seen == seen else Sighting(seen, now_s)


def moved_in(folder: Folder, files_changed_ns: int) -> bool:
    """Whether `folder` was moved to its place, or its times set by `cp -a`, after the last write beneath it.

    A rename changes the ctime of what is renamed and nothing beneath; a file that is made or removed in a
    folder changes its mtime along with its ctime.
    """
    return folder.ctime_ns > folder.mtime_ns and folder.ctime_ns > files_changed_ns


def wait_s(quiet_s: float, settle_s: float, arrived_whole: bool, complete: bool) -> float:
    """How long to wait before the files count as at rest: 0 for now.

    arrived_whole   they were moved in after the last write
    complete        nothing is missing from the model file, as far as its container tells
    """
    if not complete:
        return max(BROKEN_FACTOR * settle_s - quiet_s, 0.0)
    return 0.0 if arrived_whole else max(settle_s - quiet_s, 0.0)
