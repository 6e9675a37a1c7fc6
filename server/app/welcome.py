"""What the terminal shows once the server is up: gathers the facts for `server.observe.banner`."""

import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.domain.catalogue import Catalogue, VersionFacts
from server.domain.state import State
from server.observe.banner import FileQuestion, Question, Row, banner
from server.wire.golden import GoldenExample

Address = tuple[str, int]
RUNTIMES = {"onnxruntime_onnx": "ONNX Runtime", "pytorch_libtorch": "TorchScript"}
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where each door listens; None for one that is shut."""

    http: Address | None = None
    grpc: Address | None = None
    metrics: Address | None = None


def welcome(
    catalogue: Catalogue,
    addresses: Addresses,
    repositories: Sequence[Path],
    *,
    docs: bool,
    scheme: str = "http",
    is_open: bool = True,
) -> str:
    """Each model with its state, where the doors are, and commands that work as they stand.

    There are no such commands unless it `is_open`: nobody is asked for a key or a certificate.
    """
    facts = catalogue.all_facts()
    serving = {(version.model, version.version): version for version in facts}
    rows = []
    for status in catalogue.index():
        version = serving.get((status.model, status.version or 0))
        rows.append(
            Row(
                model=status.model,
                version=status.version,
                state=status.state,
                runtime=RUNTIMES.get(version.platform, version.platform) if version else "",
                device=", ".join(version.devices) if version else "",
                load_seconds=version.load_seconds if version else None,
                reason="" if status.state is State.READY and not status.reason else status.reason,
            )
        )
    http = f"{scheme}://{_reachable(addresses.http)}" if addresses.http else ""
    return banner(
        rows,
        http_url=http,
        grpc_url=_reachable(addresses.grpc) if addresses.grpc else "",
        metrics_url=f"{scheme}://{_reachable(addresses.metrics)}/metrics" if addresses.metrics else "",
        docs_url=f"{http}/docs" if http and docs else "",
        question=min(filter(None, map(_question, facts if is_open else ())), key=_length, default=None),
        file=next((file for each in facts if is_open and (file := _file(each, repositories))), None),
    )


def _reachable(address: Address) -> str:
    host, port = address
    if host in EVERYWHERE:
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _question(version: VersionFacts) -> Question | None:
    """A golden example that can be asked in plain JSON."""
    for example in version.examples:
        if isinstance(example, GoldenExample) and all(
            not array.dtype.hasobject and array.size <= 64 for array in example.inputs.values()
        ):
            datatypes = {spec.name: spec.datatype for spec in version.signature.inputs}
            return Question(
                model=version.model,
                inputs=[
                    {
                        "name": name,
                        "shape": list(array.shape),
                        "datatype": datatypes[name],
                        "data": array.ravel().tolist(),
                    }
                    for name, array in example.inputs.items()
                ],
            )
    return None


def _length(question: Question) -> int:
    """The shortest command is the one that people try."""
    return len(str(question.inputs))


def _file(version: VersionFacts, repositories: Sequence[Path]) -> FileQuestion | None:
    """A file that lies in the model's folder, for a model that takes one."""
    inputs = version.signature.inputs
    if len(inputs) != 1 or inputs[0].datatype != "BYTES":
        return None
    for repository in repositories:
        for path in sorted((repository / version.model).glob("*.*")):
            kind = mimetypes.guess_type(path.name)[0] or ""
            if kind.startswith("image/"):
                return FileQuestion(model=version.model, path=os.path.relpath(path), media_type=kind)
    return None
