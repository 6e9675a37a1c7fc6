"""What tells one content of a folder from another."""

import hashlib
import os
from pathlib import Path

import pytest

from server.repository.fingerprint import SMALL, ContentMoved, Fingerprints
from server.repository.snapshot import Stamp, take_snapshot


def stamp_of(file: Path) -> Stamp:
    return take_snapshot(file.parent).beside.files[file.name]


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 9 * SMALL])
def test_a_file_of_any_size_is_known_by_its_sha_256(tmp_path: Path, size: int):
    file = tmp_path / "model.onnx"
    content = os.urandom(size)
    file.write_bytes(content)
    assert Fingerprints().digest(str(file), stamp_of(file)) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("size", [1, 9 * SMALL])
def test_a_file_that_grew_since_it_was_seen_is_not_at_rest(tmp_path: Path, size: int):
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(size))
    seen = stamp_of(file)
    file.write_bytes(bytes(size + 1))
    with pytest.raises(ContentMoved):
        Fingerprints().digest(str(file), seen)


def test_a_file_that_is_gone_is_not_at_rest(tmp_path: Path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"x")
    seen = stamp_of(file)
    file.unlink()
    with pytest.raises(ContentMoved):
        Fingerprints().digest(str(file), seen)


def test_a_name_that_moves_makes_another_fingerprint_and_a_touch_does_not(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x")
    known = Fingerprints()
    first = known.of(str(tmp_path), take_snapshot(tmp_path).beside.files)
    os.utime(tmp_path / "a", ns=(1, 1))
    assert known.of(str(tmp_path), take_snapshot(tmp_path).beside.files) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert known.of(str(tmp_path), take_snapshot(tmp_path).beside.files) != first
