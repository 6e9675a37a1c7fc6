"""Whether the files of a version are as they were when its content was read."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from server.domain.offer import VersionOffer
from server.lifecycle.ending import Limits
from server.lifecycle.stamps import are_as_offered, stamps_of
from server.lifecycle.trials import NOT_AS_OFFERED, Trials
from server.lifecycle.verdicts import Verdicts
from server.repository.content import holds
from server.repository.scanner import Scanner
from tests.lifecycle.shelf import Shelf, plus


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


def offered(shelf: Shelf) -> VersionOffer:
    """As the repository offers it."""
    shelf.put()
    scanner = Scanner([shelf.directory.parent], settle_s=0.0)
    return scanner.scan().offers["m"].versions[1]


def test_files_that_nobody_touched_are_as_offered(shelf):
    version = offered(shelf)
    assert version.stamps.keys() == {"model.onnx"}
    assert are_as_offered(version, stamps_of(version))


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(plus(9)),
        lambda file: os.utime(file, (1, 1)),
        lambda file: file.chmod(0o600),
        lambda file: file.with_name("more.bin").write_bytes(b"1"),
        lambda file: file.unlink(),
    ],
    ids=["written", "dated back", "changed rights", "one more", "gone"],
)
def test_whatever_happened_to_a_file_shows(shelf, change):
    version = offered(shelf)
    change(version.model_file)
    assert not are_as_offered(version, stamps_of(version))


def test_content_of_the_same_size_put_in_place_with_its_old_date_shows(shelf):
    version = offered(shelf)
    was = version.model_file.stat()
    other = version.model_file.with_name("other")
    other.write_bytes(plus(9))
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(version.model_file)
    assert version.model_file.stat().st_size == was.st_size
    assert not are_as_offered(version, stamps_of(version))


def test_where_nobody_took_stamps_nothing_is_missed(shelf):
    version = shelf.put()
    assert are_as_offered(version, stamps_of(version))


def test_a_version_that_was_only_touched_is_the_same_version(shelf):
    version = offered(shelf)
    assert replace(version, stamps={"model.onnx": (1, 2, 3, 4)}) == version


async def test_what_was_exchanged_before_its_trial_is_not_tried_in_the_name_of_what_was_offered(shelf):
    version = offered(shelf)
    version.model_file.write_bytes(plus(9))
    verdicts = Verdicts()
    trials = Trials(verdicts, limits=Limits(timeout_s=20, memory_bytes=2**30), at_once=1, same_content=holds)
    try:
        assert await trials.verdict(shelf.offer(version), version) == NOT_AS_OFFERED
        assert await trials.known(shelf.offer(version), version) is None
        version.model_file.write_bytes(plus(1))  # other stamps, and the content that was offered
        assert (await trials.verdict(shelf.offer(version), version)).good
    finally:
        trials.close()
