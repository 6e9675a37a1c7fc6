"""Compiles the protobuf files before the packages are built: generated code is never committed."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))

from protos.generate import generate


class BuildPy(build_py):
    """`build_py`, after the generated modules lie beside their sources."""

    def run(self) -> None:
        generate()
        super().run()


setup(cmdclass={"build_py": BuildPy})
