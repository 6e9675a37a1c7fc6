"""The build step that turns .proto files into modules."""

import os
from pathlib import Path

import pytest

from protos.generate import generate

WORD = 'syntax = "proto3";\npackage words;\nmessage Word { string text = 1; }\n'
LINE = 'syntax = "proto3";\npackage words;\nimport "word.proto";\nmessage Line { repeated Word words = 1; }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "word.proto").write_text(WORD)
    (tmp_path / "line.proto").write_text(LINE)
    return tmp_path


def test_every_source_becomes_a_module_and_its_types(folder: Path):
    written = {path.name for path in generate(folder)}
    assert written == {"word_pb2.py", "word_pb2.pyi", "line_pb2.py", "line_pb2.pyi"}
    assert {path.name for path in folder.iterdir()} == written | {"word.proto", "line.proto"}


def test_the_messages_go_to_our_pool_and_siblings_are_imported_by_their_full_name(folder: Path):
    generate(folder)
    module = (folder / "line_pb2.py").read_text()
    assert "_POOL.AddSerializedFile" in module
    assert "from protos.pool import POOL" in module
    assert "from protos import word_pb2 as" in module
    assert "from protos import word_pb2 as" in (folder / "line_pb2.pyi").read_text()


def test_what_is_up_to_date_is_left_alone_and_a_changed_source_is_made_anew(folder: Path):
    generate(folder)
    assert generate(folder) == []
    later = (folder / "word_pb2.py").stat().st_mtime + 5
    os.utime(folder / "word.proto", (later, later))
    assert len(generate(folder)) == 4


def test_a_source_that_does_not_compile_leaves_what_was_there(folder: Path):
    generate(folder)
    before = (folder / "word_pb2.py").read_text()
    (folder / "word.proto").write_text("message {")
    later = (folder / "word_pb2.py").stat().st_mtime + 5
    os.utime(folder / "word.proto", (later, later))
    with pytest.raises(RuntimeError, match="could not compile"):
        generate(folder)
    assert (folder / "word_pb2.py").read_text() == before
