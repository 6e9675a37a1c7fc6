"""What the images weigh, and that the README of deploy/docker says it."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.version import Version

from deploy.docker.lock import IMAGES, LOCKS
from tests.deploy.docker.test_locks import locked
from tests.server_process import ROOT

README = ROOT / "deploy" / "docker" / "README.md"

MB = 1_000_000
LIKE = 0.9
"""Of what is fetched for an image, as much must be installed here for a measured size to stand for it."""

FETCHED = {"stages": 90, "predict-cpu": 330, "predict-cuda": 3300}
"""MB of packages that a build fetches, and near to what a node pulls; at most."""

UNPACKED = {"stages": 300, "predict-cpu": 1250}
"""MB of packages on disk, bytecode included; at most. CUDA's are not installed where these tests run."""


def fetched(name: str) -> dict[str, int]:
    """Package -> bytes of its file, as the lock has it."""
    pairs = re.findall(r"# (\d+) bytes\n([\w.-]+)==", (LOCKS / f"{name}.lock").read_text())
    return {package: int(size) for size, package in pairs}


def unpacked(package: str, version: Version) -> int | None:
    """Bytes of an installed package by its RECORD, with its bytecode; None where it is not installed."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    if Version(found.version) != version or found.files is None:
        return None
    return sum(file.size or 0 for file in found.files if file.suffix != ".pyc") + sum(
        file.size or 0 for file in found.files if file.suffix == ".py"
    )


@cache
def measured(name: str) -> tuple[int, int, int]:
    """Bytes fetched; bytes fetched of what is installed here; bytes of that unpacked."""
    sizes, lock = fetched(name), locked(name)
    here = {package: unpacked(package, lock[package]) for package in lock}
    known = [package for package, size in here.items() if size is not None]
    return (
        sum(sizes.values()),
        sum(sizes[package] for package in known),
        sum(here[package] or 0 for package in known),
    )


def estimated(name: str) -> int:
    """MB unpacked; the little that is not installed here is taken to unpack as the rest does."""
    whole, known, bytes_unpacked = measured(name)
    return round(bytes_unpacked * whole / known / MB)


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_fetched_for_an_image_stays_below_its_bound(name):
    assert measured(name)[0] / MB < FETCHED[name]


@pytest.mark.parametrize("name", UNPACKED)
def test_what_an_image_takes_on_disk_is_measured_and_stays_below_its_bound(name):
    whole, known, _ = measured(name)
    assert known > LIKE * whole
    assert estimated(name) < UNPACKED[name]


def test_the_readme_has_the_sizes_of_every_image():
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| (\d+) MB \| (.+?) \|", README.read_text(), re.M)
    assert rows == [
        (
            name,
            str(len(locked(name))),
            str(round(measured(name)[0] / MB)),
            f"{UNPACKED[name]} MB" if name in UNPACKED else "not measured",
        )
        for name in IMAGES
    ]


def test_gateway_pre_and_post_are_a_fraction_of_what_predicts():
    assert measured("stages")[0] * 3 < measured("predict-cpu")[0]
    assert measured("predict-cpu")[0] * 5 < measured("predict-cuda")[0]
