"""How servers are asked that have no protocol of their own: rows as lists in JSON, and back.

POST /predict with {"rows": [[...]]} is answered by [[...]], one list of numbers for each row.
"""

from collections.abc import Mapping

import numpy as np
import orjson

from benchmarks.call import Call, Door
from benchmarks.codec import Speech
from benchmarks.models import Tensors


def encode(door: Door, model: str, row: Tensors, *, http_port: int, grpc_port: int) -> Call:
    """`row` has one tensor; the server has one model."""
    (rows,) = row.values()
    body = orjson.dumps({"rows": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = {"Content-Type": "application/json"}
    return Call(door=door, port=http_port, path="/predict", headers=headers, body=body)


def read_http(headers: Mapping[str, str], body: bytes) -> Tensors:
    return {"OUTPUT": np.array(orjson.loads(body), np.float32)}


PLAIN = Speech(encode, read_http)
