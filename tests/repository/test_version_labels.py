"""Labels in a file beside a model's versions: read when it changes, and no part of any content."""

from pathlib import Path

import pytest

from server.repository.snapshot import Folder, Stamp
from server.repository.version_labels import FILE, VersionLabels


class Beside:
    """A model's folder whose file of labels is written anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writes = 0
        self.labels = VersionLabels("m", folder)

    def read(self, text: str | None) -> dict[str, int]:
        self._writes += 1
        files = {}
        if text is not None:
            (self._folder / FILE).write_text(text)
            files[FILE] = Stamp(len(text), self._writes, 0, 0)
        beside = Folder(place=str(self._folder), mtime_ns=0, ctime_ns=0, files=files, changed_ns=0)
        return dict(self.labels.read(beside))


def test_labels_are_those_of_the_file_while_there_is_one(tmp_path):
    beside = Beside(tmp_path)
    assert beside.read(None) == {}
    assert beside.read('{"stable": 2, "canary": 3}') == {"stable": 2, "canary": 3}
    assert beside.read('{"stable": 3}') == {"stable": 3}
    assert beside.read(None) == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"1": 2}', '{"stable": "two"}', '{"stable": 0}', '{"stable": true}', '{"a b": 1}'],
)
def test_a_file_that_cannot_be_read_leaves_the_labels_as_they_were(tmp_path, text):
    beside = Beside(tmp_path)
    beside.read('{"stable": 2}')
    assert beside.read(text) == {"stable": 2}
    assert beside.read('{"stable": 4}') == {"stable": 4}
