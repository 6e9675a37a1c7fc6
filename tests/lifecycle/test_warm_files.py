"""Files of versions that left are in memory, within a budget, and let go when they come back."""

from pathlib import Path

import pytest

from server.lifecycle.memory import own_bytes
from server.lifecycle.warm_files import WarmFiles

MIB = 2**20
A, B, C = ("a", 1), ("b", 1), ("c", 1)


def folder(tmp_path: Path, name: str, mebibytes: int) -> Path:
    found = tmp_path / name / "1"
    (found / "examples").mkdir(parents=True)
    (found / "model.onnx").write_bytes(bytes(mebibytes * MIB))
    (found / "examples" / "empty.json").touch()
    return found


def mapped(tmp_path: Path) -> int:
    return own_bytes(tmp_path) - own_bytes()


def test_what_leaves_is_kept_within_the_budget_and_the_least_worth_goes_for_it(tmp_path):
    warm = WarmFiles(5 * MIB)
    for key in (A, B, C):
        warm.left(key, folder(tmp_path, key[0], 2), order=sorted)
    assert warm.sizes == {B: 2 * MIB, C: 2 * MIB}
    warm.drop(B)
    assert warm.sizes == {C: 2 * MIB}
    warm.close()
    assert warm.sizes == {}


def test_kept_files_are_in_memory_and_not_after_they_were_let_go(tmp_path):
    warm = WarmFiles(64 * MIB)
    warm.left(A, folder(tmp_path, "a", 16), order=sorted)
    kept = mapped(tmp_path)
    if not kept:
        pytest.skip("this process may not lock memory")
    assert kept == pytest.approx(16 * MIB, rel=0.05)
    warm.left(A, tmp_path / "a" / "1", order=sorted)
    assert mapped(tmp_path) == pytest.approx(16 * MIB, rel=0.05)
    warm.drop(A)
    assert mapped(tmp_path) < MIB


def test_without_a_budget_or_without_files_nothing_is_kept(tmp_path):
    warm = WarmFiles(0)
    warm.left(A, folder(tmp_path, "a", 1), order=sorted)
    assert warm.sizes == {}
    warm = WarmFiles(MIB)
    warm.left(A, tmp_path / "gone", order=sorted)
    warm.left(B, folder(tmp_path, "b", 2), order=sorted)
    assert warm.sizes == {A: 0}
    warm.close()
