"""What is remembered of verdicts, over restarts too."""

import os

import pytest
from structlog.testing import capture_logs

from server.lifecycle.verdict import Verdict
from server.lifecycle.verdicts import Verdicts

GOOD, BAD = Verdict(checked=("loading",)), Verdict(reason="it is no model")


def test_a_verdict_outlives_the_process_in_its_folder(tmp_path):
    folder = tmp_path / "state" / "verdicts"
    Verdicts(folder).put("a", GOOD)
    Verdicts(folder).put("b", BAD)
    after = Verdicts(folder)
    assert (after.of("a"), after.of("b"), after.of("c")) == (GOOD, BAD, None)
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "b.json"]


def test_without_a_folder_it_is_remembered_in_the_process():
    verdicts = Verdicts()
    verdicts.put("a", GOOD)
    assert (verdicts.of("a"), Verdicts().of("a")) == (GOOD, None)


def test_what_hangs_on_more_than_content_is_not_remembered(tmp_path):
    verdicts = Verdicts(tmp_path)
    verdicts.put("a", Verdict(reason="it took too long", lasting=False))
    assert verdicts.of("a") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"reason": ""}'])
def test_a_spoilt_entry_counts_as_none_and_is_told_of(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with capture_logs() as lines:
        assert Verdicts(tmp_path).of("a") is None
    assert [line["event"] for line in lines] == ["verdict_unreadable"]
    Verdicts(tmp_path).put("a", GOOD)
    assert Verdicts(tmp_path).of("a") == GOOD


def test_the_oldest_entries_make_room(tmp_path):
    verdicts = Verdicts(tmp_path, most=10)
    for number in range(11):
        verdicts.put(str(number), GOOD)
        os.utime(tmp_path / f"{number}.json", (number, number)) if number < 10 else None
    left = {path.stem for path in tmp_path.iterdir()}
    assert len(left) <= 10
    assert {"9", "10"} <= left
    assert "0" not in left
    assert verdicts.of("0") is None


def test_a_folder_that_cannot_be_written_is_told_of_once(tmp_path):
    (tmp_path / "file").touch()
    verdicts = Verdicts(tmp_path / "file" / "verdicts")
    with capture_logs() as lines:
        verdicts.put("a", GOOD)
        verdicts.put("b", GOOD)
    assert [line["event"] for line in lines] == ["verdicts_not_kept"]
    assert verdicts.of("b") == GOOD
