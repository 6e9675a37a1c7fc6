"""`make bench-scheduling` as its caller sees it, with its quickest part."""

import json

from benchmarks.scheduling.__main__ import main
from benchmarks.scheduling.aims import AIMS


def test_a_part_is_measured_told_and_written(tmp_path, capsys):
    out = tmp_path / "results" / "scheduling.json"
    assert main(["--quick", "--parts", "cost", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["cost"]["in batches"]["mean_batch"] >= 16
    assert written["cost"]["alone"]["mean_batch"] == 1
    assert written["findings"].keys() == {
        *("cost in batches", "share in batches"),
        *("cost alone", "share alone"),
    }
    assert len(written["promises"]) == len(AIMS)
    assert {"at", "machine", "versions"} <= written.keys()
    printed = capsys.readouterr().out
    assert "scheduler's CPU us/request alone" in printed
    assert str(out) in printed
