"""NVIDIA's gRPC client on a stream, blocking and asyncio, used alike."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

from tests.e2e.triton import tensors
from tests.server_process import Server

PATIENCE_S = 20


class Told(NamedTuple):
    """What came for one request; `error` of the stream itself has a status."""

    result: triton.InferResult | None
    error: InferenceServerException | None

    @property
    def message(self) -> pb.ModelInferResponse:
        assert self.error is None, self.error
        assert self.result is not None
        return self.result.get_response()

    def array(self, name: str) -> np.ndarray:
        assert self.error is None, self.error
        assert self.result is not None
        return self.result.as_numpy(name)


class BlockingStream:
    """`start_stream` and `async_stream_infer`, whose callback is called in a thread of the client's."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client
        self._told: queue.Queue[Told] = queue.Queue()

    def start(self, headers: Mapping[str, str] | None, timeout_s: float | None) -> None:
        self._client.start_stream(
            lambda result, error: self._told.put(Told(result, error)),
            headers=headers,
            stream_timeout=timeout_s,
        )

    async def ask(self, model: str, inputs: dict[str, np.ndarray], **options: Any) -> None:
        self._client.async_stream_infer(model, tensors(triton, inputs), **options)

    async def told(self) -> Told:
        return await asyncio.to_thread(self._told.get, timeout=PATIENCE_S)

    async def done(self) -> list[Told]:
        """Say that no more comes; what is still told until the stream ends."""
        await asyncio.to_thread(self._client.stop_stream)
        return [self._told.get_nowait() for _ in range(self._told.qsize())]

    async def cancel(self) -> None:
        await asyncio.to_thread(self._client.stop_stream, cancel_requests=True)


class AioStream:
    """`stream_infer`: an iterator of requests in, an iterator of answers out."""

    def __init__(self, client: triton_aio.InferenceServerClient) -> None:
        self._client = client
        self._asked: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._answers: Any = None

    def start(self, headers: Mapping[str, str] | None, timeout_s: float | None) -> None:
        async def asked() -> AsyncIterator[dict[str, Any]]:
            while (one := await self._asked.get()) is not None:
                yield one

        self._answers = self._client.stream_infer(asked(), headers=headers, stream_timeout=timeout_s)

    async def ask(self, model: str, inputs: dict[str, np.ndarray], **options: Any) -> None:
        await self._asked.put({"model_name": model, "inputs": tensors(triton, inputs), **options})

    async def told(self) -> Told:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return Told(*await anext(self._answers))
        except grpc.RpcError as error:
            return Told(None, InferenceServerException(error.details(), str(error.code())))

    async def done(self) -> list[Told]:
        await self._asked.put(None)
        async with asyncio.timeout(PATIENCE_S):
            return [Told(*each) async for each in self._answers]

    async def cancel(self) -> None:
        self._answers.cancel()


Stream = BlockingStream | AioStream
Streams = Callable[..., AbstractAsyncContextManager[Stream]]


@asynccontextmanager
async def blocking(
    server: Server, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> AsyncIterator[Stream]:
    with triton.InferenceServerClient(server.grpc) as client:
        stream = BlockingStream(client)
        stream.start(headers, timeout_s)
        try:
            yield stream
        finally:
            await stream.cancel()


@asynccontextmanager
async def aio(
    server: Server, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> AsyncIterator[Stream]:
    async with triton_aio.InferenceServerClient(server.grpc) as client:
        stream = AioStream(client)
        stream.start(headers, timeout_s)
        try:
            yield stream
        finally:
            await stream.cancel()
