"""Bytes of tensors that this process has copied on a request's way through it, by the place where it did.

    batch    requests laid together for one run of a model
    pieces   outputs of a request that went through several runs, joined to one answer
    shared   tensors laid into memory that another process of this host reads
    wire     tensors written into a message to another process

A copy is counted once for a run or a bundle, and only where one is made. What a door does to read a request
and to write an answer is not counted, nor what padding lays anew, which has counters of its own.
"""

from collections.abc import Iterator
from typing import Literal, get_args

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Place = Literal["batch", "pieces", "shared", "wire"]


class Copies:
    """Of one process. The event loop alone adds to it."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes: dict[Place, int] = dict.fromkeys(get_args(Place), 0)

    def add(self, place: Place, size: int) -> None:
        self.bytes[place] += size


class CopyCollector(Collector):
    def __init__(self, copies: Copies) -> None:
        self._copies = copies

    def collect(self) -> Iterator[Metric]:
        name = "tercet_payload_copied_bytes"
        copied = Metric(name, "Bytes of tensors that were copied on a request's way, by the place", "counter")
        for place, size in self._copies.bytes.items():
            copied.add_sample(f"{name}_total", {"place": place}, size)
        yield copied
