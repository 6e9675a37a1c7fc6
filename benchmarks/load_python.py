"""Load where neither wrk nor h2load is installed: asyncio in processes of its own, half as many as cores.

As light as Python allows: over HTTP a reply is counted, not parsed beyond its status and length; over gRPC a
message stays bytes. Run as a module, this file is one of those processes.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks.call import GRPC_PREFIX_BYTES, HOST, Call, Door
from benchmarks.sample import LoadFailed, Sample, percentile

ROOT = Path(__file__).resolve().parents[1]
START_S = 1.0
"""All processes have this long to come up before they send together."""
DEADLINE_S = 60
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """
    ended          time.monotonic at the end of each reply that came within the time
    latencies_ms   of those, from sending to the end
    errors         requests that failed
    """

    ended: Sequence[float]
    latencies_ms: Sequence[float]
    errors: int


def run(call: Call, *, clients: int, seconds: float) -> Sample:
    return sampled(completions(call, clients=clients, seconds=seconds), seconds=seconds)


def completions(call: Call, *, clients: int, seconds: float) -> Completions:
    """When each was answered. Raises `LoadFailed` if the generator could not do its work."""
    processes = max(1, min(clients, len(os.sched_getaffinity(0)) // 2))
    with tempfile.TemporaryDirectory() as scratch:
        body = Path(scratch, "body")
        body.write_bytes(call.body)
        task = {"door": call.door, "port": call.port, "path": call.path, "headers": dict(call.headers)}
        task |= {"body_file": str(body), "seconds": seconds, "start_at": time.monotonic() + START_S}
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load_python", json.dumps(task | {"clients": share})],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for share in shares(clients, processes)
        ]
        try:
            printed = [process.communicate(timeout=seconds + DEADLINE_S)[0] for process in running]
        finally:
            for process in running:
                process.kill()
                process.wait()
    if any(process.returncode for process in running):
        raise LoadFailed("the generator in Python failed; its reason stands above")
    return joined([json.loads(each) for each in printed])


def shares(clients: int, processes: int) -> list[int]:
    """How many clients each process stands for."""
    each, rest = divmod(clients, processes)
    return [each + (number < rest) for number in range(processes)]


def joined(parts: Sequence[Mapping[str, Any]]) -> Completions:
    """What several processes saw in the same time."""
    return Completions(
        ended=[end for part in parts for end in part["ended"]],
        latencies_ms=[latency for part in parts for latency in part["latencies_ms"]],
        errors=sum(part["errors"] for part in parts),
    )


def sampled(seen: Completions, *, seconds: float) -> Sample:
    ascending = sorted(seen.latencies_ms)
    return Sample(
        generator="python",
        seconds=seconds,
        requests=len(ascending),
        errors=seen.errors,
        p50_ms=percentile(ascending, 0.50),
        p99_ms=percentile(ascending, 0.99),
    )


# One process


@dataclass(slots=True)
class _Tally:
    """What the clients of one process saw. A reply after `end` (of time.monotonic) is not counted."""

    end: float
    over: bool = False
    ended: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0

    def answered(self, sent: float, now: float) -> None:
        if now <= self.end:
            self.ended.append(round(now, 6))
            self.latencies_ms.append(round((now - sent) * 1e3, 4))


class _HttpClient(asyncio.Protocol):
    """One connection in a closed loop, until the tally's end."""

    def __init__(self, request: bytes, tally: _Tally) -> None:
        self._request, self._tally = request, tally
        self._head = b""
        self._missing = 0
        self._ok = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            head_end = self._head.find(b"\r\n\r\n") + 4
            if head_end < 4:
                return
            length = CONTENT_LENGTH.search(self._head, 0, head_end)
            if length is None:
                self._transport.close()  # a reply of unknown length: this client's loop ends here
                return
            self._ok = self._head.startswith(b"HTTP/1.1 200 ")
            self._missing = head_end + int(length[1])
            data, self._head = self._head, b""
        self._missing -= len(data)
        if not self._missing:
            self._replied()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._tally.over:
            self._tally.errors += 1

    def _replied(self) -> None:
        now = time.monotonic()
        if self._ok:
            self._tally.answered(self._sent, now)
        else:
            self._tally.errors += 1
        if now < self._tally.end:
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        self._transport.write(self._request)


async def _http_clients(call: Call, clients: int, tally: _Tally) -> None:
    loop = asyncio.get_running_loop()
    headers = {"Host": HOST, "Content-Length": str(len(call.body)), **call.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST {call.path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body
    connections = [
        await loop.create_connection(lambda: _HttpClient(request, tally), HOST, call.port)
        for _ in range(clients)
    ]
    await asyncio.sleep(tally.end - time.monotonic())
    tally.over = True
    for transport, _ in connections:
        transport.abort()


async def _grpc_client(call: Call, tally: _Tally) -> None:
    message = call.body[GRPC_PREFIX_BYTES:]
    async with call.aio_channel() as channel:
        method = channel.unary_unary(call.path)
        while (sent := time.monotonic()) < tally.end:
            try:
                await method(message)
            except grpc.aio.AioRpcError:
                tally.errors += 1
            else:
                tally.answered(sent, time.monotonic())


async def _closed_loop(call: Call, clients: int, start_at: float, seconds: float) -> _Tally:
    await asyncio.sleep(start_at - time.monotonic())
    tally = _Tally(end=start_at + seconds)
    if call.door is not Door.GRPC:
        await _http_clients(call, clients, tally)
        return tally
    async with asyncio.TaskGroup() as callers:
        for _ in range(clients):
            callers.create_task(_grpc_client(call, tally))
    return tally


def _main(task: str) -> None:
    asked = json.loads(task)
    call = Call(
        door=Door(asked["door"]),
        port=asked["port"],
        path=asked["path"],
        headers=asked["headers"],
        body=Path(asked["body_file"]).read_bytes(),
    )
    tally = uvloop.run(_closed_loop(call, asked["clients"], asked["start_at"], asked["seconds"]))
    print(json.dumps({"ended": tally.ended, "latencies_ms": tally.latencies_ms, "errors": tally.errors}))


if __name__ == "__main__":
    _main(sys.argv[1])
