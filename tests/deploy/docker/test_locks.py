"""The lock files say the same as pyproject.toml and constraints.txt, and leave nothing open."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.docker.lock import BUILD, IMAGES, LOCKS, required
from tests.server_process import ROOT

each_image = pytest.mark.parametrize("name", IMAGES)
each_lock = pytest.mark.parametrize("name", [BUILD, *IMAGES])

RUNTIMES = re.compile("onnx|torch|nvidia|cuda|triton|tensor")

IN_AN_IMAGE = {
    **default_environment(),
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "sys_platform": "linux",
}


def locked(name: str) -> dict[str, Version]:
    """Package -> its version."""
    lines = (LOCKS / f"{name}.lock").read_text().splitlines()
    pins = (line.split()[0].split("==") for line in lines if "==" in line)
    return {canonicalize_name(package): Version(version) for package, version in pins}


def constrained() -> Mapping[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(package): Version(version) for package, version in pins}


def wanted(requirements: Iterator[str] | tuple[str, ...], extras: set[str]) -> Iterator[Requirement]:
    """Those that hold in an image, for a package that was asked for with these extras."""
    for each in map(Requirement, requirements):
        where = [{**IN_AN_IMAGE, "extra": extra} for extra in {"", *extras}]
        if each.marker is None or any(each.marker.evaluate(there) for there in where):
            yield each


def missing(requirements: tuple[str, ...], lock: Mapping[str, Version]) -> Iterator[str]:
    """Of these requirements, and of what each package that is installed here needs in turn."""
    ahead = [(each, "the image") for each in wanted(requirements, set())]
    seen = set()
    while ahead:
        requirement, asker = ahead.pop()
        package = canonicalize_name(requirement.name)
        if package not in lock or not requirement.specifier.contains(lock[package], prereleases=True):
            yield f"{asker} needs {requirement}, and the lock has {lock.get(package)}"
        key = (package, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(package)
        except PackageNotFoundError:
            continue
        if Version(found.version) == lock.get(package):
            needs = wanted(tuple(found.requires or ()), requirement.extras)
            ahead += [(each, package) for each in needs]


@each_lock
def test_a_lock_has_all_that_the_project_asks_for(name):
    assert list(missing(required(name), locked(name))) == []


@each_lock
def test_a_lock_and_the_constraints_agree_on_every_version(name):
    ours = constrained()
    differ = {
        package: (str(version), str(ours[package]))
        for package, version in locked(name).items()
        if package in ours and version.public != ours[package].public
    }
    assert differ == {}


@each_lock
def test_every_package_of_a_lock_has_its_hashes(name):
    text = re.sub(r" \\\n +", " ", (LOCKS / f"{name}.lock").read_text())
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==\S+( --hash=sha256:[0-9a-f]{64})+", line)


def test_gateway_pre_and_post_have_no_runtime_and_no_cuda():
    assert [package for package in locked("stages") if RUNTIMES.search(package)] == []


def test_what_predicts_on_processors_has_both_runtimes_and_no_cuda():
    found = {package for package in locked("predict-cpu") if RUNTIMES.search(package)}
    assert found == {"onnxruntime", "torch"}
    assert locked("predict-cpu")["torch"].local == "cpu"


def test_what_predicts_on_gpus_has_the_runtimes_for_it_and_one_cuda():
    lock = locked("predict-cuda")
    assert {"onnxruntime-gpu", "torch", "nvidia-cudnn-cu13", "nvidia-cuda-runtime"} <= lock.keys()
    assert "onnxruntime" not in lock
    assert [package for package in lock if package.endswith("-cu12")] == []


@each_image
def test_every_image_reads_every_repository_and_speaks_http2(name):
    assert {"s3fs", "gcsfs", "adlfs", "cryptography", "hpack"} <= locked(name).keys()


def test_who_stands_at_the_door_reads_tokens_and_who_stands_at_a_gpu_sees_it():
    assert all("pyjwt" in locked(name) for name in IMAGES)
    assert "nvidia-ml-py" in locked("predict-cuda")


def test_no_image_has_what_only_developers_use():
    for name in IMAGES:
        assert not {"pytest", "mypy", "ruff", "grpcio-tools", "uv", "pip", "wheel"} & locked(name).keys()


def test_what_is_missing_or_too_old_is_told():
    assert list(missing(("httpx>=99", "nobody-at-all"), locked("stages"))) == [
        "the image needs nobody-at-all, and the lock has None",
        f"the image needs httpx>=99, and the lock has {locked('stages')['httpx']}",
    ]
