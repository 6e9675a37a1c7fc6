"""The golden examples of the sample repository, read without the server's own code."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.server_process import SAMPLES

DTYPES = {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}


@dataclass(frozen=True)
class Golden:
    """One question with its right answer; `request` is the body of an infer call, all in JSON."""

    model: str
    version: str
    request: dict[str, Any]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    tolerance: float


def golden(path: str) -> Golden:
    """The example at MODEL/VERSION/examples/NAME.json."""
    model, version, *_ = path.split("/")
    document = json.loads((SAMPLES / path).read_text())
    return Golden(
        model,
        version,
        document["request"],
        {tensor["name"]: array(tensor) for tensor in document["request"]["inputs"]},
        {tensor["name"]: array(tensor) for tensor in document["response"]["outputs"]},
        document["tolerance"],
    )


def array(tensor: dict[str, Any]) -> np.ndarray:
    data = [base64.b64decode(item["b64"]) if isinstance(item, dict) else item for item in tensor["data"]]
    return np.array(data, DTYPES[tensor["datatype"]]).reshape(tensor["shape"])


EXAMPLES = sorted(str(Path(path).relative_to(SAMPLES)) for path in SAMPLES.glob("*/*/examples/*.json"))
