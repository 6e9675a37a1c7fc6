"""Whether the machine was left alone: by time that others had, and by its rate before and after."""

import os
from pathlib import Path

import pytest

from benchmarks.scheduling.stillness import is_still, stolen_s

NOTHING_STOLEN = 0.0


def test_stolen_time_is_read_from_the_line_of_all_processors(tmp_path: Path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 2 3 4 5 6 7 250 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
    assert stolen_s(stat) == pytest.approx(250 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize("line", [None, "cpu  1 2 3 4\n"])
def test_where_nobody_tells_nothing_is_stolen(tmp_path: Path, line: str | None):
    stat = tmp_path / "stat"
    if line is not None:
        stat.write_text(line)
    assert stolen_s(stat) == 0.0


@pytest.mark.parametrize(
    ("stolen", "before", "after", "still"),
    [
        (NOTHING_STOLEN, 240.0, 248.0, True),
        (NOTHING_STOLEN, 248.0, 240.0, True),
        (0.009, 240.0, 240.0, True),
        (0.011, 240.0, 240.0, False),
        (NOTHING_STOLEN, 240.0, 220.0, False),
        (NOTHING_STOLEN, 220.0, 240.0, False),
    ],
)
def test_it_is_still_if_next_to_nothing_was_stolen_and_its_rate_has_stayed(
    stolen: float, before: float, after: float, still: bool
):
    assert is_still(stolen, before, after) is still
