"""How much memory there is: the machine's, or the tightest group's."""

import os

from server.lifecycle.memory import memory_limit, peak_bytes, resident_bytes


def test_without_a_group_it_is_the_machines(tmp_path):
    assert memory_limit(tmp_path / "none", tmp_path, machine_bytes=1000) == 1000
    assert memory_limit() > 2**20


def test_the_tightest_group_above_the_process_counts(tmp_path):
    (tmp_path / "mounts" / "a" / "b").mkdir(parents=True)
    (tmp_path / "mounts" / "a" / "memory.max").write_text("400\n")
    (tmp_path / "mounts" / "a" / "b" / "memory.max").write_text("700\n")
    (tmp_path / "groups").write_text("0::/a/b\n")
    assert memory_limit(tmp_path / "groups", tmp_path / "mounts", machine_bytes=1000) == 400


def test_the_first_version_of_groups_counts_too_and_its_no_limit_is_none(tmp_path):
    folder = tmp_path / "mounts" / "memory" / "a"
    folder.mkdir(parents=True)
    (tmp_path / "groups").write_text("5:memory:/a\n4:cpu:/a\n")
    for said, expected in (("300\n", 300), (f"{2**63 - 4096}\n", 1000)):
        (folder / "memory.limit_in_bytes").write_text(said)
        assert memory_limit(tmp_path / "groups", tmp_path / "mounts", machine_bytes=1000) == expected


def test_a_process_knows_its_own_and_one_that_is_gone_has_none():
    assert 2**20 < resident_bytes(os.getpid()) < 1.1 * peak_bytes()
    assert resident_bytes(2**22 + 1) == 0
