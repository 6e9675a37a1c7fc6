"""Every request of a recording at its moment, whatever became of the others, over gRPC with a deadline.

An open loop: as many are under way as come within a deadline, so their number is bounded by the recording.
"""

import asyncio
from collections.abc import Iterable

import grpc
import grpc.aio

from benchmarks.autoscaling.journal import Told
from benchmarks.autoscaling.pipelines import MODEL, ROW
from benchmarks.call import GRPC_CHANNEL, GRPC_PREFIX_BYTES, HOST, Door
from benchmarks.codec import encode

CHANNELS = 4
OK = grpc.StatusCode.OK.name
REFUSALS = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED.name, grpc.StatusCode.RESOURCE_EXHAUSTED.name})
"""What overload may do to a request; anything else is a failure."""


async def send(arrivals: Iterable[float], grpc_port: int, within_s: float, told: list[Told]) -> None:
    """Ask the server on this port, from now on, until the last answer is there."""
    loop = asyncio.get_running_loop()
    call = encode(Door.GRPC, MODEL, ROW, http_port=0, grpc_port=grpc_port)
    message = call.body[GRPC_PREFIX_BYTES:]
    channels = [grpc.aio.insecure_channel(f"{HOST}:{grpc_port}", GRPC_CHANNEL) for _ in range(CHANNELS)]
    methods = [channel.unary_unary(call.path) for channel in channels]
    began = loop.time()

    async def ask(number: int, at: float) -> None:
        status = OK
        try:
            await methods[number % CHANNELS](message, timeout=within_s)
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        told.append(Told(at, loop.time() - began - at, status))

    try:
        async with asyncio.TaskGroup() as group:
            for number, at in enumerate(arrivals):
                await asyncio.sleep(max(0.0, began + at - loop.time()))
                group.create_task(ask(number, at))
    finally:
        for channel in channels:
            await channel.close()
