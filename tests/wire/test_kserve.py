"""kserve's client is understood as it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protos import inference_pb2 as pb
from server.wire import infer_http, infer_proto
from tests.wire import kserve_client
from tests.wire.models import TINY
from tests.wire.strategies import same


@pytest.fixture(scope="module")
def sent() -> dict[str, Any]:
    client = subprocess.run(
        [sys.executable, str(Path(kserve_client.__file__))], capture_output=True, check=True, timeout=120
    )
    found: dict[str, Any] = json.loads(client.stdout)
    return found


def expected(datatype: str) -> Any:
    array = kserve_client.sample(datatype)
    if array.dtype.hasobject:
        array[:] = [[text.encode() for text in row] for row in array.tolist()]
    return array


def test_over_rest(sent: dict[str, Any]):
    for label, request in sent.items():
        decoded, _ = infer_http.decode(bytes.fromhex(request["rest"]), request["length"], TINY, now=0)
        assert same(decoded.inputs["X"], expected(label.split()[0])), label
        assert decoded.id == "7"


def test_over_grpc(sent: dict[str, Any]):
    for label, request in sent.items():
        message = pb.ModelInferRequest.FromString(bytes.fromhex(request["grpc"]))
        decoded, _ = infer_proto.decode(message, TINY, now=0)
        assert same(decoded.inputs["X"], expected(label.split()[0])), label
        assert decoded.id == "7"
