"""Ratios, verdicts, table and picture of servers side by side, from figures written down here."""

import json
import re
from xml.etree import ElementTree

import pytest

from benchmarks.call import Door
from benchmarks.findings import verdicts
from benchmarks.peers import aims
from benchmarks.peers.figures import refusals, rows
from benchmarks.peers.known import PEERS
from benchmarks.peers.picture import PICTURE, draw, newest
from benchmarks.peers.table import table
from benchmarks.server_under_test import ROOT


def run(rate: float, cpu_us: float = 20.0, **more: float):
    return {"requests_per_s": rate, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": cpu_us, **more}


def line(server: str, *runs, door: Door = Door.JSON, clients: int = 64):
    return {"server": server, "model": "tiny", "door": door, "clients": clients, "runs": list(runs)}


def content(**parts):
    machine = {"cpu": "a <processor>", "cores": 2}
    return {"at": "2026-11-22T01:00:00+00:00", "machine": machine, "quick": False, **parts}


def test_ratios_are_ours_over_theirs():
    findings = {}
    aims.add(findings, "kserve", Door.GRPC, run(30_000, cpu_us=20), run(2_000, cpu_us=400))
    assert findings == {"cpu kserve grpc": 0.05, "rate kserve grpc": 15.0}


def test_of_two_ways_to_set_up_triton_the_better_one_counts_and_only_once_both_are_known():
    findings = {"cpu pytriton json": 0.2, "rate pytriton json": 5.0}
    aims.add_better_triton(findings)
    assert "cpu tritonserver json" not in findings
    findings |= {"cpu pytriton-delay json": 0.3, "rate pytriton-delay json": 4.0}
    aims.add_better_triton(findings)
    assert (findings["cpu tritonserver json"], findings["rate tritonserver json"]) == (0.3, 4.0)


def test_there_is_one_promise_for_each_peer_at_each_of_its_doors():
    findings = {"rate mlserver json": 14.9, "rate mlserver grpc": 10.0, "cpu prototype grpc": 1.36}
    lines = list(verdicts(aims.AIMS, findings))
    assert len(lines) == len(set(lines)) == 3 + 2 * 3 + sum(len(peer.doors) for peer in aims.OTHERS)
    outcomes = {line.split("  ")[0]: line.split()[-1] for line in lines if "not measured" not in line}
    assert outcomes == {
        "tiny, json: rate over mlserver's": "short",
        "tiny, grpc: rate over mlserver's": "met",
        "tiny, grpc: CPU over the prototype's": "short",
    }


def test_medians_are_over_all_runs_also_those_beside_several_peers():
    told = content(
        mlserver={"lines": [line("tercet", run(300)), line("mlserver", run(20, mean_batch=4.0))]},
        kserve={"lines": [line("tercet", run(100), run(120))]},
    )
    assert [(row.server, row.figures["requests_per_s"]) for row in rows(told)] == [
        ("tercet", 120),
        ("mlserver", 20),
    ]


def test_the_table_says_how_many_times_theirs_our_rate_is_and_who_could_not_be_measured():
    told = content(
        mlserver={"lines": [line("tercet", run(300)), line("mlserver", run(20, cpu_us=200))]},
        kserve={"refusal": "kserve cannot be installed: no such package"},
        litserve={
            "lines": [{"server": "litserve", "model": "tiny", "door": "json", "refusal": "status 500"}]
        },
    )
    lines = list(table(told))
    assert any("mlserver" in each and each.split()[-2:] == ["15.00", "0.100"] for each in lines)
    assert lines[-2:] == list(refusals(told))
    assert "no such package" in lines[-2]
    assert "litserve, tiny over json" in lines[-1]


def test_the_picture_shows_every_server_and_the_limit_and_names_its_source():
    told = content(
        prototype={
            "limits": {"tiny": {"rows_per_s": 500_000.0, "batch_size": 32, "alone_us": 10.0}},
            "lines": [
                line(name, run(rate)) for name, rate in (("tercet", 50_000.0), ("prototype", 59_000.0))
            ],
        },
        ray={"lines": [line("ray", run(266.0)), line("ray", run(10.0), clients=1)]},
    )
    drawn = draw(told, "2026-peers.json")
    said = [element.text or "" for element in ElementTree.fromstring(drawn).iter()]
    assert {"Tercet", "bare path in Python", "Ray Serve", "ONNX Runtime alone", "HTTP, JSON"} <= set(said)
    assert any("266/s" in text for text in said)
    assert not any("10/s, " in text for text in said)  # the picture is of 64 clients
    assert any("2026-peers.json" in text and "a <processor>" in text for text in said)
    widths = [float(width) for width in re.findall(r'class="(?:ours|bar)" .*? width="([\d.]+)"', drawn)]
    assert widths[0] > widths[1] > 0


def test_the_picture_of_a_quick_run_says_so():
    told = content(ray={"lines": [line("ray", run(266))]}) | {"quick": True}
    assert "A QUICK LOOK" in draw(told, "a-peers-quick.json")


def test_a_file_without_figures_cannot_be_drawn():
    with pytest.raises(ValueError, match="no figures of tiny at 64 clients"):
        draw(content(ray={"refusal": "away"}), "x.json")


def test_a_quick_run_is_drawn_only_where_there_is_no_full_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="make bench-peers"):
        newest(tmp_path)
    for name in ("2026-11-22-0100-peers-quick.json", "2026-11-23-0100-peers-quick.json"):
        (tmp_path / name).write_text("{}")
    assert newest(tmp_path).name == "2026-11-23-0100-peers-quick.json"
    for name in ("2026-11-21-0100-peers.json", "2026-11-21-0200-peers.json"):
        (tmp_path / name).write_text("{}")
    assert newest(tmp_path).name == "2026-11-21-0200-peers.json"


def test_the_picture_in_the_readme_is_drawn_from_the_newest_results():
    latest = newest()
    assert PICTURE.read_text() == draw(json.loads(latest.read_text()), latest.name), "run make plot"
    assert str(PICTURE.relative_to(ROOT)) in (ROOT / "README.md").read_text()


def test_every_server_has_a_name_in_the_picture():
    from benchmarks.peers.picture import SHOWN

    assert set(SHOWN) == {"tercet", *PEERS}
