"""Opens a model file with the runtime that it is for."""

import stat
from contextlib import suppress

from runtimes import onnx_session, sleeping_session, torchscript_session
from runtimes.errors import ModelBroken, RuntimeMissing
from runtimes.session import ModelFile, Session

PLATFORMS = {
    ".onnx": "onnxruntime_onnx",
    ".pt": "pytorch_libtorch",
    ".pth": "pytorch_libtorch",
    ".py": "python",
    ".sleep": "sleeping",
}
"""The platform of a model file, by its suffix."""


def platform_of(file_name: str) -> str:
    """Guess the platform; empty where the suffix tells nothing."""
    return PLATFORMS.get("." + file_name.rpartition(".")[2].lower(), "")


def open_session(model: ModelFile) -> Session:
    """Load the model once, ready to run and described.

    Blocks while the file is read. Raises a `RuntimeFault` whose sentence is for the model's owner.
    """
    name = model.path.name
    try:
        facts = model.path.stat()
    except OSError as error:  # a share that is away for a moment, too
        raise ModelBroken(f"there is no file {name}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise ModelBroken(f"there is no file {name}")
    if facts.st_size == 0:
        raise ModelBroken(f"{name} is empty")
    match model.platform or platform_of(name):
        case "onnxruntime_onnx":
            return onnx_session.open_onnx(model)
        case "pytorch_libtorch":
            return torchscript_session.open_torchscript(model)
        case "sleeping":
            return sleeping_session.open_sleeping(model)
        case "python":
            raise ModelBroken(f"{name} is a model in Python, which this server cannot serve yet")
        case "":
            raise ModelBroken(f"{name} has no suffix that tells its platform; name it model.onnx or model.pt")
        case unknown:
            raise ModelBroken(f"no runtime here serves the platform '{unknown}' of {name}")


def import_runtime(platform: str) -> None:
    """Import the library of this platform now rather than with its first model.

    Where it is missing, nothing is said: the first model says it.
    """
    with suppress(RuntimeMissing):
        match platform:
            case "onnxruntime_onnx":
                onnx_session.import_onnxruntime()
            case "pytorch_libtorch":
                torchscript_session.import_torch()


def run_first(platform: str) -> None:
    """Run something of no size, so that what a model adds can be told from what the first one costs.

    Where the library is missing, nothing is said: the first model says it.
    """
    with suppress(RuntimeMissing):
        match platform:
            case "onnxruntime_onnx":
                onnx_session.run_first()
            case "pytorch_libtorch":
                torchscript_session.run_first()
