"""`make bench-autoscaling` as its caller sees it, with a load that is over soon."""

import json
from pathlib import Path

import pytest

from benchmarks.autoscaling.__main__ import main
from benchmarks.autoscaling.aims import AIMS


@pytest.mark.slow
def test_a_part_is_rehearsed_told_written_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    load = tmp_path / "load.csv"
    lines = [f"{15 * step},{20 if 8 <= step < 12 else 5}" for step in range(24)]
    load.write_text("\n".join(["second,requests_per_second", *lines]))
    out, picture = tmp_path / "results.json", tmp_path / "picture.svg"
    words = ["--parts", "pre", "--speed", "60", "--recording", load, "--out", out, "--picture", picture]
    assert main([str(word) for word in words]) == 0
    written = json.loads(out.read_text())
    assert written["speed"] == 60
    assert len(written["promises"]) == len(AIMS)
    assert {"pre height", "pre others", "pre flaps", "pre failed"} <= written["findings"].keys()
    assert len(written["pre"]["windows"]) == 24
    assert picture.read_text().startswith("<?xml")
    printed = capsys.readouterr().out
    assert "pre: 6 minutes in 6 s" in printed
    assert "predict: processes at the end" in printed
    assert str(picture) in printed
