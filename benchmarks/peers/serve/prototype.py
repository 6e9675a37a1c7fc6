"""The bare path: what a request costs in Python if nothing is done for it but to answer.

One model with INPUT and OUTPUT in float32, over HTTP (JSON and binary tensors) and gRPC, by the fronts that
ours has too: uvicorn's protocol class, and pygrpc-native. It validates nothing, counts no request, knows no
deadline, and a client that leaves in mid-run breaks it: the floor that ours is held against, and no more.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import uvicorn
import uvloop
from numpy.typing import NDArray
from pygrpc_native import EVENT_CALL, NativeGrpcFront
from tritonclient.grpc import service_pb2
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.peers.serve.session import OUTPUT, Session, task

Rows = NDArray[np.float32]
Answer = Callable[[Rows], None]

ASKED = task()
SESSION = Session(ASKED)
METHOD = "/inference.GRPCInferenceService/ModelInfer"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
BINARY_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
    b"inference-header-content-length: %d\r\ncontent-length: %d\r\n\r\n"
)


def run(rows: Sequence[Rows]) -> list[Rows]:
    """One run for all of them; each gets its rows of the answer."""
    answers = SESSION.run(np.concatenate(rows) if len(rows) > 1 else rows[0])
    parts, at = [], 0
    for each in rows:
        parts.append(answers[at : at + len(each)])
        at += len(each)
    return parts


class Gathering:
    """What came within one turn of the event loop goes together."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[Rows, Answer]] = []

    def add(self, rows: Rows, answer: Answer) -> None:
        if not self._waiting:
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._leave)
        self._waiting.append((rows, answer))

    def _leave(self) -> None:
        batch = self._waiting[: ASKED.max_batch_size]
        self._waiting = self._waiting[ASKED.max_batch_size :]
        if self._waiting and self._loop:
            self._loop.call_soon(self._leave)
        for (_, answer), part in zip(batch, run([rows for rows, _ in batch]), strict=True):
            answer(part)


GATHERING = Gathering()


class Bare(HttpToolsProtocol):
    """A connection: every message is taken for an infer request, and answered without the ASGI round trip."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.parts: list[bytes] = []
        self.json_size = 0

    def on_headers_complete(self) -> None:
        for name, value in self.headers:
            if name == b"inference-header-content-length":
                self.json_size = int(value)

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        if not self.json_size:
            tensor = orjson.loads(body)["inputs"][0]
            GATHERING.add(np.array(tensor["data"], np.float32).reshape(tensor["shape"]), self._answer_json)
            return
        tensor = orjson.loads(memoryview(body)[: self.json_size])["inputs"][0]
        rows = np.frombuffer(body, np.float32, offset=self.json_size).reshape(tensor["shape"])
        GATHERING.add(rows, self._answer_binary)

    def _answer_json(self, rows: Rows) -> None:
        body = orjson.dumps(_reply(rows, data=rows.ravel()), option=orjson.OPT_SERIALIZE_NUMPY)
        self.transport.write(JSON_HEAD % len(body) + body)

    def _answer_binary(self, rows: Rows) -> None:
        raw = rows.tobytes()
        head = orjson.dumps(_reply(rows, parameters={"binary_data_size": len(raw)}))
        self.transport.write(BINARY_HEAD % (len(head), len(head) + len(raw)) + head + raw)


def _reply(rows: Rows, **more: Any) -> Any:
    tensor = {"name": OUTPUT, "datatype": "FP32", "shape": rows.shape, **more}
    return {"model_name": ASKED.model, "model_version": "1", "outputs": [tensor]}


def answer_grpc() -> None:
    """Calls come in batches, and what came together goes together."""
    front = NativeGrpcFront(f"127.0.0.1:{ASKED.grpc_port}", [(METHOD, False)])
    front.start()
    while (events := front.recv_batch(ASKED.max_batch_size)) is not None:
        calls, rows = [], []
        for kind, call, _, message, _ in events:
            if kind == EVENT_CALL:
                request = service_pb2.ModelInferRequest.FromString(message)
                shape = tuple(request.inputs[0].shape)
                rows.append(np.frombuffer(request.raw_input_contents[0], np.float32).reshape(shape))
                calls.append((call, request.id))
        if not calls:
            continue
        for (call, name), part in zip(calls, run(rows), strict=True):
            reply = service_pb2.ModelInferResponse(model_name=ASKED.model, model_version="1", id=name)
            reply.outputs.add(name=OUTPUT, datatype="FP32").shape.extend(part.shape)
            reply.raw_output_contents.append(part.tobytes())
            front.respond(call, reply.SerializeToString())


async def nothing_else(_scope: Any, _receive: Any, _send: Any) -> None:
    """The ASGI app that uvicorn wants; no message reaches it."""


async def serve() -> None:
    threading.Thread(target=answer_grpc, daemon=True).start()
    config = uvicorn.Config(
        nothing_else,
        host="127.0.0.1",
        port=ASKED.http_port,
        http=Bare,
        loop="none",
        lifespan="off",
        access_log=False,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve())
