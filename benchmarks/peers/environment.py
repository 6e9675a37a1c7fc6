"""An environment for each peer, made once on demand: what they need does not go together.

They lie in `build/peers`, which git passes over, and are made anew when the requirements or our Python have
changed.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.server_under_test import ROOT, ServerFailed

FOLDER = ROOT / "build" / "peers"
REQUIREMENTS = Path(__file__).with_name("requirements")
INSTALL_DEADLINE_S = 1_200
ASK_DEADLINE_S = 60
LAST_WORDS = 800


class NotInstalled(ServerFailed):
    """Its packages cannot be had here; the sentence ends in pip's last words."""


def python(name: str) -> Path:
    """The interpreter of the environment with these requirements; our own for no name.

    Makes it if it is not there. Raises `NotInstalled`.
    """
    if not name:
        return Path(sys.executable)
    home, requirements = FOLDER / name, REQUIREMENTS / f"{name}.txt"
    made = home / f".made-{key(requirements.read_bytes())}"
    interpreter = home / "bin" / "python"
    if not made.exists():
        shutil.rmtree(home, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(home)], name)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*install, "--only-binary", ":all:", "--requirement", str(requirements)], name)
        made.touch()
    return interpreter


def key(requirements: bytes) -> str:
    """What an environment is made from, in short."""
    return hashlib.sha256(requirements + sys.version.encode()).hexdigest()[:12]


def packages(name: str) -> Mapping[str, str]:
    """The versions of all packages of an environment that is there."""
    command = [str(python(name)), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASK_DEADLINE_S)
    return {each["name"]: each["version"] for each in json.loads(asked.stdout)}


def _run(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name} was not installed within {INSTALL_DEADLINE_S} s") from None
    if done.returncode:
        last_words = (done.stderr or done.stdout).strip()[-LAST_WORDS:]
        raise NotInstalled(f"{name} cannot be installed: {last_words}")
