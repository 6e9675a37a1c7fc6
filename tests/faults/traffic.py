"""Callers who ask without pause, over HTTP and gRPC, each with a deadline, and keep every outcome."""

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import grpc
import httpx
import numpy as np

from protos import inference_pb2 as pb
from tests.faults.fleet import Process
from tests.faults.pipeline import MODEL, is_right, question

PACE_S = 0.01
"""Between an answer and the next question of one caller: the machine is to have time for the server."""

BEAT_S = 0.05
DEADLINE_S = 1.5
GIVES_UP_S = 10.0
"""By itself, whatever the server does: only a server that forgets a request lets it come so far."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request, and what came of it.

    told      "right", "wrong", or the status; `sentence` is what the server said with it
    stalled_s the longest that this process itself has not got to run meanwhile: a busy machine, and no fault
    """

    number: int
    began: float
    ended: float
    told: str
    sentence: str = ""
    stalled_s: float = 0.0

    @property
    def late_s(self) -> float:
        """After its deadline, but for what the machine did to this process."""
        return self.ended - self.began - DEADLINE_S - self.stalled_s


_numbers = itertools.count(1)


class Traffic:
    """What has come of the requests so far."""

    def __init__(self, gateways: Sequence[Process], callers: int) -> None:
        self.outcomes: list[Outcome] = []
        self._gateways = gateways
        self._callers = callers
        self._begun = threading.Event()
        self._over = False
        self._stalls: list[tuple[float, float]] = []

    def count(self) -> Counter[str]:
        return Counter(outcome.told for outcome in self.outcomes)

    def since(self, moment: float) -> list[Outcome]:
        """Those that were asked after a moment (monotonic)."""
        return [outcome for outcome in self.outcomes if outcome.began >= moment]

    def stop(self) -> None:
        self._over = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as callers:
            callers.create_task(self._feel_stalls())
            for number in range(self._callers):
                gateway = self._gateways[number % len(self._gateways)]
                over = self._over_http if number // len(self._gateways) % 2 else self._over_grpc
                callers.create_task(over(gateway))

    async def _feel_stalls(self) -> None:
        """Note when this process was kept from running."""
        while not self._over:
            began = monotonic()
            await asyncio.sleep(BEAT_S)
            if (stall := monotonic() - began - BEAT_S) > BEAT_S:
                self._stalls.append((monotonic(), stall))

    async def _over_http(self, gateway: Process) -> None:
        headers = {"tercet-timeout-ms": str(int(DEADLINE_S * 1000))}
        async with httpx.AsyncClient(base_url=f"http://{gateway.http}", timeout=GIVES_UP_S) as client:
            while not self._over:
                number, began = next(_numbers), monotonic()
                try:
                    answer = await client.post(
                        f"/v2/models/{MODEL}/infer", content=question(number), headers=headers
                    )
                except httpx.TransportError as error:
                    self._note(number, began, type(error).__name__, str(error) or "the connection")
                    continue
                said = answer.json()
                if answer.status_code != 200:
                    self._note(number, began, str(answer.status_code), said["error"])
                else:
                    self._judge(number, began, {each["name"]: each["data"] for each in said["outputs"]})
                await asyncio.sleep(PACE_S)

    async def _over_grpc(self, gateway: Process) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200))
        async with grpc.aio.insecure_channel(gateway.grpc, options=options) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            while not self._over:
                number, began = next(_numbers), monotonic()
                request = pb.ModelInferRequest(model_name=MODEL)
                request.inputs.add(name="number", datatype="FP32", shape=[1, 1])
                request.raw_input_contents.append(np.float32(number).tobytes())
                try:
                    answer = await infer(request, timeout=DEADLINE_S)
                except grpc.aio.AioRpcError as status:
                    self._note(number, began, status.code().name, status.details() or "")
                else:
                    outputs = {
                        each.name: np.frombuffer(raw, np.float32).tolist()
                        for each, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
                    }
                    self._judge(number, began, outputs)
                await asyncio.sleep(PACE_S)

    def _judge(self, number: int, began: float, outputs: dict[str, list[float]]) -> None:
        if is_right(number, outputs):
            self._note(number, began, "right", str(int(outputs["by"][0])))
        else:
            self._note(number, began, "wrong", str(outputs))

    def _note(self, number: int, began: float, told: str, sentence: str) -> None:
        stalled_s = sum([stall for ended, stall in self._stalls if ended > began])
        self.outcomes.append(Outcome(number, began, monotonic(), told, sentence, stalled_s))


@contextmanager
def traffic(gateways: Sequence[Process], callers: int = 6) -> Iterator[Traffic]:
    """Asked from a thread of its own; leaving waits until every request has ended."""
    load = Traffic(gateways, callers)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()))
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join(GIVES_UP_S + 5)
        assert not thread.is_alive(), "a request has never ended"
