"""Writes the lock files of the images: `make locks`, or `python deploy/docker/lock.py [NAME ...]`.

`locks/NAME.lock` has every package of an image: its one version, the hashes of the files that fit the image
(CPython 3.11 on linux/amd64), and how many bytes are fetched for it. `constraints.txt` decides the versions.

Needs uv and a package index. torch without CUDA comes from PyTorch's own index, which uv knows; where that
cannot be reached, UV_FIND_LINKS names a folder that has the wheel.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOCKS = HERE / "locks"

PYTHON = "3.11"
PLATFORM = "x86_64-manylinux_2_28"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is installed in one image.

    extras      of pyproject.toml
    more        requirements beside them, which only an image needs
    cpu_torch   whether torch is the one without CUDA
    """

    extras: tuple[str, ...]
    more: tuple[str, ...] = ()
    cpu_torch: bool = False


EVERYWHERE = ("jwt", "remote", "samples", "signed", "trace")

IMAGES: Mapping[str, Image] = {
    "stages": Image(extras=EVERYWHERE),
    "predict-cpu": Image(extras=(*EVERYWHERE, "cpu", "torch"), cpu_torch=True),
    "predict-cuda": Image(extras=(*EVERYWHERE, "gpu", "torch"), more=("onnxruntime-gpu[cuda,cudnn]",)),
}

BUILD = "build"
"""What makes the wheel and fills the environments; it is in no image."""


def required(name: str) -> tuple[str, ...]:
    """The requirements that a lock stands for, as pyproject.toml and `IMAGES` write them."""
    document: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if name == BUILD:
        return (*document["build-system"]["requires"], "uv")
    project, image = document["project"], IMAGES[name]
    extras = (each for extra in image.extras for each in project["optional-dependencies"][extra])
    return (*project["dependencies"], *extras, *image.more)


def resolved(name: str) -> list[Mapping[str, Any]]:
    """The packages of an image, as uv finds them: entries of a pylock.toml."""
    without_cuda = name in IMAGES and IMAGES[name].cpu_torch and "UV_FIND_LINKS" not in os.environ
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pylock.toml"
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--only-binary=:all:"),
            *("--constraint=constraints.txt", f"--python-version={PYTHON}", f"--python-platform={PLATFORM}"),
            *(["--torch-backend=cpu"] if without_cuda else []),
            *(f"--output-file={output}", "-"),
        ]
        ours = {**os.environ} if name in IMAGES and IMAGES[name].cpu_torch else _without_folders()
        subprocess.run(command, input="\n".join(required(name)), text=True, cwd=ROOT, env=ours, check=True)
        packages: list[Mapping[str, Any]] = tomllib.loads(output.read_text())["packages"]
        return [_with_sizes(package, output.parent) for package in packages]


def _without_folders() -> dict[str, str]:
    """The folder with a torch for processors is for the one image that wants it."""
    return {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}


def _with_sizes(package: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """A file from a folder comes without its size."""
    wheels = []
    for wheel in package["wheels"]:
        where = folder / wheel["path"] if "path" in wheel else Path(unquote(urlsplit(wheel["url"]).path))
        wheels.append(wheel if "size" in wheel else {**wheel, "size": where.stat().st_size})
    return {**package, "wheels": wheels}


def lines(name: str, packages: list[Mapping[str, Any]]) -> Iterator[str]:
    """A lock file's text."""
    yield f"# {name}: made by `make locks` from pyproject.toml and constraints.txt; do not edit"
    for package in packages:
        size = max(wheel["size"] for wheel in package["wheels"])
        hashes = sorted({f"--hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"]})
        yield f"# {size} bytes"
        yield " \\\n    ".join([f"{package['name']}=={package['version']}", *hashes])


def main(names: list[str]) -> int:
    LOCKS.mkdir(exist_ok=True)
    for name in names or (BUILD, *IMAGES):
        (LOCKS / f"{name}.lock").write_text("\n".join(lines(name, resolved(name))) + "\n")
        print(f"{name}.lock")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
