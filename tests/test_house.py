"""The house (docs, `pyproject.toml`): what may import what, and how rooms are named."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("server", "runtimes", "protos")
NOBODYS_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
DOORS = {
    "onnxruntime": ("runtimes",),
    "torch": ("runtimes",),
    "fastapi": ("server/api",),
    "starlette": ("server/api",),
    "uvicorn": ("server/api",),
    "grpc": ("server/api", "server/stages/foreign", "server/stages/hop", "server/tiers"),
    "grpc_health": ("server/api",),
    "grpc_reflection": ("server/api",),
    "cryptography": ("server/repository/signature.py",),
    "jwt": ("server/security/tokens.py",),
    "pynvml": ("server/observe/gpu.py",),
    "fsspec": ("server/repository/remote/bucket.py",),
}
"""Where each heavy library may be imported: in these folders and files alone."""


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imported(module: Path) -> Iterator[str]:
    """The first word of every import, wherever in the module it stands."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_imports_only_point_down_the_house(capsys):
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert not broken, capsys.readouterr().out


def test_every_module_is_named_for_a_job():
    assert [str(module) for module in modules() if module.stem in NOBODYS_NAMES] == []
    assert [str(module) for module in modules() if module.parent.name in NOBODYS_NAMES] == []


def test_an_import_names_the_file_that_holds_the_thing():
    assert [str(module) for module in modules() if module.name == "__init__.py" and module.read_text()] == []


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_enters_at_its_door_alone(library):
    outside = [
        str(module.relative_to(ROOT))
        for module in modules()
        if library in imported(module)
        and not any(module.is_relative_to(ROOT / door) for door in DOORS[library])
    ]
    assert outside == []


@pytest.mark.parametrize("module", ["server.cli", "server.app.supervising"])
def test_the_command_line_and_the_supervisor_do_not_wait_for_heavy_libraries(module):
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert module in loaded
    assert set(loaded) & {"torch", "onnxruntime", "fastapi", "uvicorn", "grpc", "numpy"} == set()


def test_channels_to_other_processes_are_opened_in_one_place():
    plain = [
        str(module.relative_to(ROOT)) for module in modules() if "insecure_channel" in module.read_text()
    ]
    assert plain == ["server/stages/hop/channels.py"]
