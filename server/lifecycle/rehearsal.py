"""Runs of a version before anybody asks: padded, as those of requests will be.

Blocks; belongs on a loader thread, or into a trial. Nothing of it counts in the statistics.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from runtimes.device import Device
from runtimes.session import Session
from server.domain.configuration import ModelConfig
from server.domain.errors import ServingError
from server.domain.signature import Signature
from server.domain.tensors import Array, Tensors
from server.lifecycle.instance import Instance
from server.lifecycle.part import Part
from server.lifecycle.warmup import LEARNING_NS, Learned, learn, slowest, warm_up
from server.scheduling.padding import PadRule
from server.wire.golden import GoldenExample

Run = Callable[[Tensors], dict[str, Array]]


def runner(device: Device, session: Session, config: ModelConfig, padding: PadRule | None) -> Run:
    """What a server does with tensors behind the version's own code: padding, reshapes, the session.

    A run raises `InvalidRequest` or `RunFailed`.
    """
    instance = Instance("rehearsal", str(device), session, config)
    if padding is None:
        return instance.run
    rule = padding

    def padded(inputs: Tensors) -> dict[str, Array]:
        whole = rule.pad(inputs)
        return dict(whole.cut(instance.run(whole.inputs)))

    return padded


def rehearse(
    config: ModelConfig,
    directory: Path,
    predicts: Signature,
    sessions: Mapping[Device, Session],
    padding: PadRule | None,
    sample: Tensors | None,
) -> Learned:
    """Run on each device what is to be run before the version is ready. Raises `WarmupFailed`."""
    runs = [runner(device, session, config, padding) for device, session in sessions.items()]
    if config.warmups:
        return slowest([warm_up(config.warmups, directory, predicts, run) for run in runs])
    if config.scheduling.latency_target_ms is None:
        return {}
    share = LEARNING_NS // len(runs)
    return slowest([learn(sample, predicts, run, within_ns=share) for run in runs])


def sample_of(examples: tuple[GoldenExample, ...], pre: Part | None) -> Tensors | None:
    """One good request as the model itself sees it: an example, through the version's own pre-processing."""
    for example in examples:
        if pre is None:
            return example.inputs
        try:
            return pre.run(example.inputs, "golden example", example.parameters)
        except ServingError:
            continue
    return None
