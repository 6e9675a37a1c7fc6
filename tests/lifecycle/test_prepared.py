"""Where prepared models are kept: what is found again, and what is not trusted any more."""

import os
import shutil
from pathlib import Path

import pytest

from runtimes.onnx_preparing import GRAPH, WEIGHTS
from server.lifecycle.prepared import HALF, MADE, NotKept, PreparedModels, seal
from tests.lifecycle.shelf import Shelf

NAME = "0f" * 32
ROOMY = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prepared"


def kept(folder: Path, name: str = NAME, size: int = 100, most_bytes: int = ROOMY) -> PreparedModels:
    """A store that keeps one more of this size."""
    store = PreparedModels(folder, most_bytes)
    half = store.begin(size)
    (half / GRAPH).write_bytes(b"graph")
    (half / WEIGHTS).write_bytes(b"w" * size)
    seal(half)
    store.keep(name, half)
    return store


def test_what_is_kept_is_found_also_by_the_next_server(folder):
    store = kept(folder)
    assert store.find(NAME) == folder / NAME / GRAPH
    assert PreparedModels(folder, ROOMY).find(NAME) == folder / NAME / GRAPH
    assert store.find("1f" * 32) is None


def test_a_file_whose_content_has_changed_is_not_opened_and_goes(folder):
    store = kept(folder)
    (folder / NAME / WEIGHTS).write_bytes(b"x" * 100)
    assert store.find(NAME) is None
    assert not (folder / NAME).exists()


@pytest.mark.parametrize("file", [GRAPH, WEIGHTS, MADE])
def test_a_folder_that_lacks_a_file_goes(folder, file):
    store = kept(folder)
    (folder / NAME / file).unlink()
    assert store.find(NAME) is None
    assert not (folder / NAME).exists()


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b'{"graph.onnx": 1}', b"\xff"])
def test_a_seal_that_is_none_is_worth_nothing(folder, said):
    store = kept(folder)
    (folder / NAME / MADE).write_bytes(said)
    assert store.find(NAME) is None


def test_files_that_were_copied_are_read_once_and_known_from_then_on(folder, tmp_path):
    kept(folder)
    shutil.copytree(folder, tmp_path / "copy")
    copy = PreparedModels(tmp_path / "copy", ROOMY)
    before = (tmp_path / "copy" / NAME / MADE).read_bytes()
    assert copy.find(NAME) is not None
    sealed = (tmp_path / "copy" / NAME / MADE).read_bytes()
    assert sealed != before
    assert copy.find(NAME) is not None
    assert (tmp_path / "copy" / NAME / MADE).read_bytes() == sealed


def test_who_was_used_last_stays_when_room_is_short(folder):
    names = [f"{number:x}" * 64 for number in (1, 2, 3)]
    store = kept(folder, names[0], size=300)
    kept(folder, names[1], size=300)
    for number, name in enumerate(names[:2]):
        os.utime(folder / name / MADE, (number, number))
    assert store.find(names[0]) is not None
    kept(folder, names[2], size=300, most_bytes=1400)
    assert [store.find(name) is not None for name in names] == [True, False, True]


def test_what_is_larger_than_all_the_room_is_refused_with_the_option(folder):
    with pytest.raises(NotKept, match="it needs some 2 KiB, and --prepared-models-bytes is 1 KiB"):
        PreparedModels(folder, 1024).begin(2048)


def test_what_would_fill_the_disk_is_refused(folder):
    with pytest.raises(NotKept, match="are free where the state folder lies"):
        PreparedModels(folder, 2**62).begin(2**61)


def test_what_another_server_has_kept_meanwhile_stays(folder):
    store = PreparedModels(folder, ROOMY)
    half = store.begin(1)
    kept(folder)
    store.keep(NAME, half)
    assert store.find(NAME) is not None
    assert not half.exists()


def test_what_a_server_that_is_gone_was_writing_is_swept_away(folder):
    store = PreparedModels(folder, ROOMY)
    old, new = store.begin(1), store.begin(1)
    os.utime(old, (1, 1))
    store.begin(1)
    assert (old.exists(), new.exists()) == (False, True)
    assert new.name.startswith(HALF)


def test_what_a_server_that_is_gone_was_removing_is_swept_away_and_what_is_whole_is_not(folder):
    store = kept(folder)
    kept(folder, "b" * 64)
    (folder / NAME / MADE).unlink()
    for name in (NAME, "b" * 64):
        os.utime(folder / name, (1, 1))
    store.begin(1)
    assert (folder / NAME).exists() is False
    assert store.find("b" * 64) is not None


def test_what_is_prepared_hangs_on_the_content_and_on_the_configuration(folder, tmp_path):
    store, shelf = PreparedModels(folder, ROOMY), Shelf(tmp_path / "m")
    one, two = shelf.put(1), shelf.put(2)
    names = {
        store.name_of(shelf.offer(one), one),
        store.name_of(shelf.offer(two), two),
        store.name_of(shelf.offer(one, fingerprint="otherwise configured"), one),
    }
    assert len(names) == 3
