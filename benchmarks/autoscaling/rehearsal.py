"""Real tiers under a recorded load, and an autoscaler for each of them that reads their real gauges.

Time is the cluster's, squeezed by `speed`: the autoscaler's periods and windows and the recording are; the
rates, the work of the stages, the memory of the gauges and the start of a process are not.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.autoscaling.behaviour import SYNC_S, Past, Scaler, settle
from benchmarks.autoscaling.cluster import TIERS, Cluster, running
from benchmarks.autoscaling.journal import Journal, Look
from benchmarks.autoscaling.pipelines import Pipeline
from benchmarks.autoscaling.recording import Recording
from benchmarks.autoscaling.replicas import Pod, recommended
from benchmarks.autoscaling.traffic import send


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    signal     the gauge that is read, of each process
    target     that the mean of a tier's processes is to have
    within_s   the deadline of each request
    """

    recording: Recording
    speed: float
    signal: str = "tercet_saturation_ratio"
    target: float = 0.7
    scaler: Scaler = field(default_factory=lambda: Scaler(most=8))
    within_s: float = 2.0


async def rehearse(pipeline: Pipeline, plan: Plan, scratch: Path) -> Journal:
    """Raises `ServerFailed` if the tiers do not come up."""
    repository = scratch / "models"
    pipeline.lay(repository)
    journal = Journal({tier: [] for tier in TIERS})
    async with running(repository, scratch, plan.scaler.most) as cluster:
        sending = asyncio.create_task(
            send(plan.recording.arrivals(plan.speed), cluster.front.grpc_port, plan.within_s, journal.told),
            name="traffic",
        )
        try:
            await _control(cluster, plan, sending, journal)
            await sending
        finally:
            sending.cancel()
    return journal


async def _control(cluster: Cluster, plan: Plan, sending: asyncio.Task[None], journal: Journal) -> None:
    """Look at every tier each sync period, as long as there is traffic. What is missed is not made up for."""
    loop = asyncio.get_running_loop()
    began, number, period_s = loop.time(), 0, SYNC_S / plan.speed
    pasts = dict.fromkeys(TIERS, Past())
    replicas = dict.fromkeys(TIERS, 1)
    while not sending.done():
        number = max(number, int((loop.time() - began) / period_s)) + 1
        await asyncio.wait([sending], timeout=began + number * period_s - loop.time())
        now_s = (loop.time() - began) * plan.speed
        seen = await _gauges(cluster, plan.signal)
        for tier in TIERS:
            pods = [Pod(metric=gauge) for gauge in seen[tier]]
            wanted = recommended(pods, replicas[tier], plan.target)
            if wanted is not None:
                replicas[tier], pasts[tier] = settle(plan.scaler, pasts[tier], replicas[tier], wanted, now_s)
            journal.looks[tier].append(Look(now_s, seen[tier], wanted, replicas[tier]))
            await cluster.scale(tier, replicas[tier])


async def _gauges(cluster: Cluster, name: str) -> Mapping[str, Sequence[float | None]]:
    places = {tier: cluster.wanted(tier) for tier in TIERS}
    asked = [cluster.gauge(place, name) for tier in TIERS for place in places[tier]]
    values = iter(await asyncio.gather(*asked))
    return {tier: [next(values) for _ in places[tier]] for tier in TIERS}
