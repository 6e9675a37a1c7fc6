import io
import json
import logging
import threading
from dataclasses import replace
from inspect import signature

import pytest
import structlog

from server.observe.logs import Lines, LogSettings, logging_to

log = structlog.get_logger()


@pytest.fixture
def logged(tmp_path):
    """Runs something that logs; gives the lines that came out."""

    def run(say, **options) -> list[str]:
        switches = {"verbose": 0, "info": True, "warning": True, "error": True, "format": "default"} | options
        with logging_to(LogSettings(**switches, file=tmp_path / "log")) as process_log:
            say(process_log) if signature(say).parameters else say()
        return (tmp_path / "log").read_text().splitlines()

    return run


def test_an_event_is_a_line_with_its_facts(logged):
    (line,) = logged(lambda: log.info("model_ready", model="iris", load_s=0.42, note="two words"))
    assert line.split(maxsplit=1)[1] == "info    model_ready model=iris load_s=0.42 note='two words'"


def test_a_fact_from_outside_cannot_begin_a_line_of_its_own(logged):
    (line,) = logged(lambda: log.info("request", id="x\n00:00:00 error   forged"))
    assert "id='x\\n00:00:00 error" in line


def test_json_lines_hold_whatever_they_are_given(logged):
    (line,) = logged(lambda: log.info("odd", huge=2**70, broken="\udcff", thing=object), format="json")
    assert json.loads(line)["huge"] == 2**70


def test_all_lines_of_a_request_carry_what_its_door_has_bound(logged):
    def say():
        with structlog.contextvars.bound_contextvars(request_id="r1"):
            log.info("one")
            logging.getLogger("library").warning("two")
        log.info("three")

    lines = [json.loads(line) for line in logged(say, format="json")]
    assert [line.get("request_id") for line in lines] == ["r1", "r1", None]
    assert lines[0]["timestamp"].endswith("Z")


def test_a_library_is_heard_in_the_same_form_from_warnings_up(logged):
    def say():
        logging.getLogger("some.library").info("quiet")
        logging.getLogger("some.library").error("loud %d\nand long", 5)

    (line,) = logged(say)
    assert line.split(maxsplit=1)[1] == "error   loud 5 and long logger=some.library"
    assert len(logged(say, verbose=1)) == 1 + 2


def test_each_level_has_a_switch(logged):
    def say():
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)(level)

    lines = logged(say, verbose=1, info=False, error=False)
    assert [line.split()[1] for line in lines] == ["debug", "warning"]


def test_an_exception_brings_its_traceback(logged):
    def say():
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("stage_failed", stage="pre")

    first, *traceback = logged(say)
    assert first.endswith("error   stage_failed stage=pre")
    assert traceback[-1] == "ValueError: why"


def test_a_change_of_settings_holds_from_the_next_line_for_every_logger(logged):
    library = logging.getLogger("library")

    def say(process_log):
        log.info("before")
        library.info("not yet")
        process_log.change(replace(process_log.settings, info=False, verbose=1, format="json"))
        log.info("hidden")
        log.debug("now")
        library.info("hidden as well")
        library.warning("loud")

    before, changed, now, loud = logged(say)
    assert before.endswith("before")
    assert "log_settings_changed verbose=1 info=False" in changed
    assert [json.loads(line)["event"] for line in (now, loud)] == ["now", "loud"]


@pytest.mark.parametrize(
    ("before", "after", "lines"), [(True, False, 1), (False, True, 1), (False, False, 0)]
)
def test_a_change_is_told_if_info_is_shown_before_it_or_after_it(logged, before, after, lines):
    told = logged(lambda each: each.change(replace(each.settings, info=after)), info=before)
    assert len(told) == lines


class StalledReader(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.stalled, self.reading = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.stalled.set()
        self.reading.wait(10)
        return super().write(text)


def test_a_stalled_reader_costs_lines_and_never_time():
    reader = StalledReader()
    lines = Lines(reader, most=2)
    lines.write("first\n")
    assert reader.stalled.wait(10)
    for line in ("second\n", "third\n", "fourth\n", "fifth\n"):
        lines.write(line)
    reader.reading.set()
    lines.close()
    assert reader.getvalue() == "first\nsecond\nthird\nlog_lines_lost count=2\n"
