"""Sends a call once and holds the answer against the truth: nothing is timed that answers wrongly."""

import http.client
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.call import GRPC_PREFIX_BYTES, HOST, Call, Door
from benchmarks.codec import ReadHttp, decode_grpc, decode_http
from benchmarks.models import Tensors

DEADLINE_S = 30
CLOSENESS = 1e-4
"""Of the largest value of a tensor: a batch may be summed in another order than a row alone."""


class Refused(Exception):
    """The server did not answer this call, or not rightly: the sentence says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`body_bytes` is the size of the reply's body on the wire, the same for every right answer over gRPC."""

    outputs: Tensors
    body_bytes: int


def ask(call: Call, read_http: ReadHttp = decode_http) -> Reply:
    """Raises `Refused` with the server's own sentence."""
    return _ask_grpc(call) if call.door is Door.GRPC else _ask_http(call, read_http)


def check(answer: Tensors, truth: Tensors) -> None:
    """Raises `Refused` unless `answer` has the tensors of `truth` with its values.

    Shapes may differ in axes of size 1: a file's (rows,) is served as the protocol's (rows, 1).
    """
    if answer.keys() != truth.keys():
        raise Refused(f"answers {', '.join(answer)} where the bare session answers {', '.join(truth)}")
    for name, wanted in truth.items():
        got = answer[name]
        if got.squeeze().shape != wanted.squeeze().shape:
            raise Refused(f"{name} has shape {got.shape}, from the bare session {wanted.shape}")
        if not np.allclose(got.ravel(), wanted.ravel(), rtol=0, atol=CLOSENESS * np.abs(wanted).max()):
            raise Refused(f"{name} has other values than from the bare session")


def _ask_http(call: Call, read_http: ReadHttp) -> Reply:
    connection = http.client.HTTPConnection(HOST, call.port, timeout=DEADLINE_S)
    try:
        connection.request("POST", call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"no answer over HTTP: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Refused(f"status {response.status}: {body[:200].decode(errors='replace')}")
    return Reply(read_http(dict(response.getheaders()), body), len(body))


def _ask_grpc(call: Call) -> Reply:
    with call.channel() as channel:
        try:
            message = channel.unary_unary(call.path)(call.body[GRPC_PREFIX_BYTES:], timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise Refused(f"status {error.code().name}: {error.details()}") from error
    return Reply(decode_grpc(message), GRPC_PREFIX_BYTES + len(message))
