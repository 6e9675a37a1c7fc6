"""From samples to the steps of a request, from stacks written down here."""

import json

import pytest

from benchmarks.profile import page
from benchmarks.profile.steps import PLACES, STEPS, holding, innermost, objects, spent, stacks, step_of
from benchmarks.server_under_test import ROOT

LOOP = "Runner.run (asyncio/runners.py:118)"
TURN = "Batcher._look (server/scheduling/batcher.py:240)"
REPLY = "ShortWay.reply (server/api/short_way.py:236)"
RAW = f"""\
{LOOP};ShortWay.data_received (server/api/short_way.py:180);InferDoor.read (server/api/infer_door.py:249) 2
{LOOP};{TURN};Run.work (server/scheduling/run.py:99);Session.run (onnxruntime/capi/x.py:395) 3
{LOOP};{TURN};Exchange._answer (server/api/exchange.py:151);{REPLY} 4
{LOOP};{TURN} 1
"""
REPORT = """\
# Overhead  Shared Object
    65.00%  libpython3.11.so.1.0
    25.00%  [kernel.kallsyms]
    10.00%  onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so
"""


@pytest.mark.parametrize(
    ("frame", "step"),
    [
        ("InferDoor.write (server/api/infer_door.py:266)", "answer"),
        ("InferDoor.note (server/api/infer_door.py:280)", "access line"),
        ("_lines.<locals>.<listcomp> (server/observe/access.py:85)", "access line"),
        ("Tally.add (/somewhere/else/server/observe/tally.py:12)", "metrics"),
        ("stack (server/scheduling/stack.py:23)", "run"),
        ("decode (server/wire/infer_http.py:66)", "parse"),
        ("encode (server/wire/infer_http.py:198)", "answer"),
        ("write (someone/observer/server.py:9)", "other"),
        ("no frame at all", "other"),
    ],
)
def test_a_frame_belongs_to_the_step_of_its_file_or_function(frame, step):
    assert step_of([frame]) == step


def test_the_innermost_frame_of_ours_decides():
    assert step_of([LOOP, TURN, "Condition.wait (threading.py:327)"]) == "schedule"
    assert step_of([LOOP]) == "event loop"


def test_shares_of_who_holds_the_interpreter_add_up_to_one():
    held = holding(stacks(RAW))
    assert held == {"socket": 0.4, "parse": 0.2, "schedule": 0.1, "run": 0.3}
    assert innermost(stacks(RAW), 1) == {REPLY: 0.4}


def test_the_processors_time_is_shared_out_by_object_and_then_by_who_holds_the_interpreter():
    shares = spent({"socket": 0.4, "parse": 0.4, "run": 0.2}, objects(REPORT))
    assert shares == pytest.approx({"socket": 0.25, "parse": 0.65 * 2 / 3, "run": 0.1 + 0.65 / 3})


def test_without_perf_the_shares_are_those_of_the_interpreter():
    assert spent({"parse": 1.0}, {}) == {"parse": 1.0}


def test_every_place_is_still_there_and_has_a_step_that_is_told():
    assert {place.step for place in PLACES} <= set(STEPS)
    ours = [place for place in PLACES if place.path.startswith(("server/", "runtimes/"))]
    assert [place.path for place in ours if not (ROOT / place.path).exists()] == []
    named = [place for place in ours if place.name]
    missing = [place for place in named if f"def {place.name}(" not in (ROOT / place.path).read_text()]
    assert missing == []


def test_the_page_tells_each_step_in_shares_and_microseconds():
    told = {"steps": {"parse": 0.25, "run": 0.75}, "figures": {"cpu_us": 20.0}, "innermost": {TURN: 0.5}}
    content = {"at": "2026-11-22T01:00", "machine": {"cpu": "x", "cores": 2}, "binary": told}
    said = page.page(content, "a-profile.json")
    assert "| parse | 25.0%, 5.0 µs |" in said
    assert "| all | 20.0 µs |" in said
    assert "a-profile.json" in said
    assert f"| 50.0% | `{TURN}` |" in said
    assert "gRPC front" not in said


def test_the_page_in_the_docs_is_written_from_the_newest_profile():
    latest = page.newest()
    written = page.page(json.loads(latest.read_text()), latest.name)
    assert page.PAGE.read_text() == written, "run python -m benchmarks.profile.page"
