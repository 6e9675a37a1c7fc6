"""Files of versions that left are in memory, within a budget, and let go when they come back."""

import asyncio
import os
import re
import resource
from pathlib import Path

import pytest

from server.lifecycle.memory import own_bytes
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.warm_files import WarmFiles
from server.lifecycle.warming import Warming

MIB = 2**20
CAP_IPC_LOCK = 14
A, B, C = ("a", 1), ("b", 1), ("c", 1)


def folder(tmp_path: Path, name: str, mebibytes: int) -> Path:
    found = tmp_path / name / "1"
    (found / "examples").mkdir(parents=True)
    (found / "model.onnx").write_bytes(bytes(mebibytes * MIB))
    (found / "examples" / "empty.json").touch()
    return found


def may_lock(size: int) -> bool:
    """Whether the system lets this process hold so many bytes in memory."""
    capabilities = re.search(r"CapEff:\s+(\w+)", Path("/proc/self/status").read_text())
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_capable = capabilities is not None and int(capabilities[1], 16) >> CAP_IPC_LOCK & 1
    return bool(is_capable) or limit == resource.RLIM_INFINITY or limit >= size


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
    locked = 16 * MIB if may_lock(16 * MIB) else 0
    assert mapped(tmp_path) == pytest.approx(locked, rel=0.05)
    warm.left(A, tmp_path / "a" / "1", order=sorted)
    assert mapped(tmp_path) == pytest.approx(locked, rel=0.05)
    warm.drop(A)
    assert mapped(tmp_path) < MIB


def test_without_a_budget_or_without_files_nothing_is_kept(tmp_path):
    warm = WarmFiles(0)
    warm.left(A, folder(tmp_path, "a", 1), order=sorted)
    assert warm.sizes == {}
    warm = WarmFiles(MIB)
    (tmp_path / "bare").mkdir()
    warm.left(A, tmp_path / "bare", order=sorted)
    warm.left(B, folder(tmp_path, "b", 2), order=sorted)
    assert warm.sizes == {A: 0}
    warm.close()


def test_kept_files_take_no_descriptors(tmp_path):
    warm = WarmFiles(64 * MIB)
    before = len(os.listdir("/proc/self/fd"))
    for key in (A, B, C):
        place = folder(tmp_path, key[0], 1)
        for number in range(20):
            (place / f"{number}.bin").write_bytes(b"1")
        warm.left(key, place, order=sorted)
    assert len(warm.sizes) == 3
    assert len(os.listdir("/proc/self/fd")) < before + 20
    warm.close()


def test_files_are_bounded_in_number_too(tmp_path):
    warm = WarmFiles(64 * MIB, most_files=2)
    for key in (A, B, C):
        warm.left(key, folder(tmp_path, key[0], 1), order=sorted)
    assert warm.sizes.keys() == {B, C}  # one file each that holds something
    warm.close()


async def kept_by(acts, most_bytes: int = 64 * MIB) -> Warming:
    """What is kept once all is done that `acts` has begun."""
    async with asyncio.TaskGroup() as tasks:
        warming = Warming(most_bytes, GreedyDual(), lambda work, name: tasks.create_task(work, name=name))
        acts(warming)
    return warming


async def test_a_version_that_is_back_before_its_files_are_in_is_not_kept(tmp_path):
    place = folder(tmp_path, "a", 1)

    def go_and_come_back(warming: Warming) -> None:
        warming.keep(A, place)
        warming.keep(B, place)
        warming.drop(A)
        warming.drop(C)

    warming = await kept_by(go_and_come_back)
    assert warming.files.sizes.keys() == {B}
    warming.close()


async def test_a_folder_that_is_gone_meanwhile_is_passed_over_and_ends_nobody(tmp_path):
    warming = await kept_by(lambda warming: warming.keep(A, tmp_path / "gone"))
    assert warming.files.sizes == {}


def test_a_folder_that_cannot_be_listed_takes_its_version_out(tmp_path):
    warm = WarmFiles(64 * MIB)
    place = folder(tmp_path, "a", 1)
    warm.left(A, place, order=sorted)
    place.rename(tmp_path / "aside")
    warm.left(A, place, order=sorted)
    assert warm.sizes == {}
