"""One version of which this process has nothing but its own code: that before the model, or that behind it.

No runtime is needed for it, and none is imported.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from time import monotonic
from typing import Any, Literal

from runtimes.code import Context, open_post, open_pre
from runtimes.opening import platform_of
from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.signature import Signature
from server.domain.stage import StageName
from server.domain.tensors import TensorSpec
from server.lifecycle.instances import Content
from server.lifecycle.leases import Leases
from server.lifecycle.loader import labels_of
from server.lifecycle.part import CodeStage, Part
from server.observe.tally import Tally
from server.wire import golden


class PartVersion:
    """What a request reaches.

    facts       what clients are told; its signature has what is known here of what they may send and get
    content     what it is made of, to tell whether an offer is another
    version     its number, as on the wire
    stage       the one that is done here
    part        its code
    stages      all that the version has, in their order
    checks      whether its code declares all that it takes, so that a request can be held against it
    staged      always: it has no queue
    """

    staged: Literal[True] = True

    def __init__(
        self,
        *,
        facts: VersionFacts,
        content: Content,
        stage: CodeStage,
        part: Part,
        stages: Sequence[StageName],
    ) -> None:
        self.facts = facts
        self.version = str(facts.version)
        self.content = content
        self.stage: CodeStage = stage
        self.part = part
        self.stages = tuple(stages)
        self.checks = stage == "pre" and part.contract is not None
        self._leases = Leases()

    @property
    def pre(self) -> Part | None:
        return self.part if self.stage == "pre" else None

    @property
    def post(self) -> Part | None:
        return self.part if self.stage == "post" else None

    def lease(self) -> AbstractContextManager[None]:
        """Keep the version alive while a request is in its code."""
        return self._leases.one()

    def hold(self, task: "asyncio.Future[Any]") -> None:
        """Keep the version alive until this task is over, from now on and not only once it has begun."""
        self._leases.until(task)

    def take(self) -> None:
        """Keep the version alive until `let_go` is called for it, once."""
        self._leases.take()

    def let_go(self) -> None:
        self._leases.let_go()

    async def retire(self, within_s: float) -> None:
        """Let the last request have its answer, then give everything back."""
        await self._leases.ended(within_s)
        await asyncio.to_thread(self.part.close)


def open_part(offer: ModelOffer, version: VersionOffer, content: Content) -> PartVersion:
    """The part of a version that this process is for, `pre` or `post`, as its folder has it.

    Blocks: it runs the code's `setup`. Raises a `RuntimeFault` or a `ServingError`.
    """
    began = monotonic()
    config = offer.config
    assert config is not None
    examples = tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples)
    with ExitStack() as undo:
        stage, part = _opened(config, version)
        undo.callback(part.close)
        signature = _signature(config, stage, part)
        labels = labels_of(config, offer.labels)
        undo.pop_all()
    seconds = monotonic() - began
    facts = VersionFacts(
        model=config.name,
        version=version.version,
        platform=_platform(config, version),
        config=config,
        signature=signature,
        tally=Tally(load_seconds=seconds),
        devices=(),
        load_seconds=seconds,
        labels=labels,
        examples=examples,
    )
    return PartVersion(facts=facts, content=content, stage=stage, part=part, stages=version.stages)


def _opened(config: ModelConfig, version: VersionOffer) -> tuple[CodeStage, Part]:
    context = Context(
        model=config.name,
        version=version.version,
        directory=version.directory,
        parameters=config.parameters,
    )
    if version.loads("pre"):
        assert version.pre is not None
        return "pre", Part(open_pre(version.pre, context), config.name, version.version, "pre")
    assert version.post is not None
    return "post", Part(open_post(version.post, context), config.name, version.version, "post")


def _signature(config: ModelConfig, stage: CodeStage, part: Part) -> Signature:
    """What is known of it without the model: what the code declares, and what is configured.

    A pre tier takes what clients send, and what it gives is the code's affair; a post tier takes what the
    model gives, and gives what clients get.
    """
    rows = config.max_batch_size or 0
    if stage == "pre":
        takes = part.contract if part.contract is not None else _configured(config, config.inputs)
        gives: Sequence[TensorSpec] = ()
        optional = frozenset(tensor.name for tensor in config.inputs if tensor.optional)
    else:
        takes = _configured(config, config.outputs)
        gives = part.contract if part.contract is not None else takes
        optional = frozenset()
    return Signature(config.name, takes, gives, rows, optional, most_rows=rows * max(1, config.split_pieces))


def _configured(config: ModelConfig, tensors: Sequence[TensorConfig]) -> tuple[TensorSpec, ...]:
    """Their shapes are known only where it is said whether the model batches."""
    if config.max_batch_size is None:
        return ()
    return tuple(tensor.spec(config.max_batch_size > 0) for tensor in tensors)


def _platform(config: ModelConfig, version: VersionOffer) -> str:
    if config.platform is not None:
        return config.platform
    return platform_of(version.model_file.name) if version.model_file is not None else ""
