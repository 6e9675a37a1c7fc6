"""Makes `NAME_pb2.py` and `NAME_pb2.pyi` beside each `NAME.proto` of this folder.

Run at build time by `setup.py`, or by hand: `python protos/generate.py`. Needs grpcio-tools and
nothing of ours. What protoc writes is changed in three ways: the messages go to the pool in
`protos.pool`, one generated module imports another as `protos.NAME_pb2`, and the types are
complete, as a strict checker asks.
"""

import re
import tempfile
from importlib.resources import files
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

_POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
_OUR_POOL_IMPORT = "from protos.pool import POOL as _POOL\n"
_SIBLING_IMPORT = re.compile(r"^import (\w+_pb2) as ", re.MULTILINE)


def generate(folder: Path = FOLDER) -> list[Path]:
    """Compile every .proto of `folder` and say which files were written: none if all are up to date.

    All are made in a temporary folder and then moved in one by one, so a failure leaves what was there.
    Raises `RuntimeError` if protoc refuses a source; it has said why on stderr.
    """
    sources = sorted(folder.glob("*.proto"))
    if _up_to_date(sources):
        return []
    written = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".generated-") as fresh:
        _compile(sources, folder, Path(fresh))
        for source in sources:
            for output in _outputs(source):
                made = Path(fresh, output.name)
                made.write_text(_ours(made.read_text(encoding="utf-8")), encoding="utf-8")
                written.append(made.replace(output))
    return written


def _outputs(source: Path) -> tuple[Path, Path]:
    return source.with_name(f"{source.stem}_pb2.py"), source.with_name(f"{source.stem}_pb2.pyi")


def _up_to_date(sources: list[Path]) -> bool:
    outputs = [output for source in sources for output in _outputs(source)]
    if not all(output.exists() for output in outputs):
        return False
    newest_source = max(path.stat().st_mtime_ns for path in (*sources, Path(__file__)))
    return all(output.stat().st_mtime_ns > newest_source for output in outputs)


def _compile(sources: list[Path], folder: Path, into: Path) -> None:
    from grpc_tools import protoc  # only to write anew: an installed tree does without grpcio-tools

    arguments = [
        f"--proto_path={folder}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={into}",
        f"--pyi_out={into}",
        *(source.name for source in sources),
    ]
    if protoc.main(["protoc", *arguments]):
        raise RuntimeError(f"protoc could not compile the .proto files of {folder}")


def _ours(generated: str) -> str:
    pooled = generated.replace(_POOL_IMPORT, _OUR_POOL_IMPORT).replace("_descriptor_pool.Default()", "_POOL")
    if "_descriptor_pool" in pooled:
        raise RuntimeError("protoc now writes its descriptor pool in a way that this script does not know")
    typed = pooled.replace("_Mapping]", "_Mapping[str, object]]").replace("**kwargs)", "**kwargs: object)")
    return _SIBLING_IMPORT.sub(r"from protos import \1 as ", typed)


if __name__ == "__main__":
    for path in generate():
        print(path.relative_to(FOLDER.parent))
