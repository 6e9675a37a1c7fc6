"""Opens everything that one version needs, and joins it to something that serves.

`load` blocks and runs on a loader thread: files, sessions, code. `assemble` runs on the event loop:
the batcher and the instances over those sessions. Whatever fails, what was opened is closed again.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from runtimes.code import Context, open_post, open_pre
from runtimes.device import Device, cuda_devices
from runtimes.errors import ModelBroken, SignatureUnknown
from runtimes.opening import open_session, platform_of
from runtimes.session import ModelFile, Session
from runtimes.threads import threads_per_model
from server.domain.catalogue import VersionFacts
from server.domain.configuration import InstanceGroup, ModelConfig, Platform, TimeoutAction
from server.domain.errors import ServingError
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.signature import Signature
from server.domain.tensors import Tensors
from server.lifecycle.completion import complete
from server.lifecycle.instance import Instance
from server.lifecycle.part import Part
from server.lifecycle.placement import Placement, place
from server.lifecycle.version import ServedVersion
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.rule import BatchRule
from server.wire import golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One version with everything open, not serving yet."""

    model: str
    version: int
    config: ModelConfig
    platform: Platform
    placements: tuple[Placement, ...]
    sessions: Mapping[Device, Session]
    pre: Part | None
    post: Part | None
    sees: Signature
    predicts: Signature
    labels: Mapping[str, tuple[str, ...]]
    examples: tuple[golden.GoldenExample, ...]
    seconds: float


class Loader:
    """Makes versions. `cpu_budget` is in threads, for all models together."""

    def __init__(self, *, cpu_budget: int, max_queue_size: int, auto_complete: bool = True) -> None:
        self._cpu_budget = cpu_budget
        self._max_queue_size = max_queue_size
        self._auto_complete = auto_complete

    def load(self, offer: ModelOffer, version: VersionOffer, models: int) -> Loaded:
        """Open a version that shares the processors with so many `models`.

        Blocks. Raises a `RuntimeFault`, a `ServingError` or `ConfigContradicts`: its sentence says why not.
        """
        began = monotonic()
        assert offer.config is not None
        config = offer.config
        assert version.model_file is not None
        platform = config.platform or Platform(platform_of(version.model_file.name) or Platform.ONNX)
        with ExitStack() as undo:
            pre, post = self._code(config, version, undo)
            examples = tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples)
            file = ModelFile(
                path=version.model_file,
                platform=platform,
                inputs=tuple(tensor.spec(bool(config.max_batch_size)) for tensor in config.inputs),
                outputs=tuple(tensor.spec(bool(config.max_batch_size)) for tensor in config.outputs),
                samples=_sample(examples, pre),
                threads=threads_per_model(self._cpu_budget, models),
                parameters=config.parameters,
            )
            placements = place(config.instance_groups or (InstanceGroup(),), platform, cuda_devices(platform))
            sessions: dict[Device, Session] = {}
            for placement in placements:
                session = open_session(replace(file, device=placement.device))
                undo.callback(session.close)
                sessions[placement.device] = session
            description = next(iter(sessions.values())).description
            if not self._auto_complete and not (config.inputs and config.outputs):
                raise SignatureUnknown(
                    "the configuration names no inputs or outputs, and auto-completion is off; "
                    "declare them, or start without --disable-auto-complete-config"
                )
            config = complete(config, description, platform)
            predicts = signature_of(config)
            sees = predicts
            if pre is not None or post is not None:
                sees = Signature(
                    config.name,
                    pre.contract if pre is not None and pre.contract is not None else predicts.inputs,
                    post.contract if post is not None and post.contract is not None else predicts.outputs,
                    predicts.max_batch_size,
                    predicts.optional,
                )
            labels = labels_of(config, offer.labels)
            undo.pop_all()
        return Loaded(
            model=config.name,
            version=version.version,
            config=config,
            platform=platform,
            placements=placements,
            sessions=sessions,
            pre=pre,
            post=post,
            sees=sees,
            predicts=predicts,
            labels=labels,
            examples=examples,
            seconds=monotonic() - began,
        )

    def assemble(self, loaded: Loaded, fingerprint: str) -> ServedVersion:
        """On the event loop: the queue, the rule and the instances over the sessions."""
        config = loaded.config
        rows = loaded.predicts.max_batch_size
        dynamic = config.dynamic_batching
        rule = None
        if rows and dynamic is not None:
            rule = BatchRule(
                max_batch_size=rows,
                max_queue_delay_us=dynamic.max_queue_delay_microseconds,
                preferred_batch_sizes=dynamic.preferred_batch_size,
            )
        policy = dynamic.default_queue_policy if dynamic is not None else None
        tally = Tally(load_seconds=loaded.seconds)
        instances = [
            Instance(
                f"{loaded.model}/{loaded.version} {placement.device} #{number}",
                loaded.sessions[placement.device],
                config,
            )
            for placement in loaded.placements
            for number in range(placement.count)
        ]
        facts = VersionFacts(
            model=loaded.model,
            version=loaded.version,
            platform=loaded.platform,
            config=config,
            signature=loaded.sees,
            tally=tally,
            devices=tuple(str(placement.device) for placement in loaded.placements),
            load_seconds=loaded.seconds,
            labels=loaded.labels,
            examples=loaded.examples,
        )
        return ServedVersion(
            facts=facts,
            fingerprint=fingerprint,
            predicts=loaded.predicts,
            batcher=Batcher(
                model=loaded.model,
                version=loaded.version,
                batches=rows > 0,
                rule=rule,
                slots=instances,
                max_queue_size=(policy.max_queue_size if policy else 0) or self._max_queue_size,
                in_place=all(
                    device.kind == "cpu" and session.description.steady
                    for device, session in loaded.sessions.items()
                ),
                tally=tally,
            ),
            instances=instances,
            sessions=tuple(loaded.sessions.values()),
            pre=loaded.pre,
            post=loaded.post,
            queue_timeout_s=(
                policy.default_timeout_microseconds / 1e6
                if policy
                and policy.default_timeout_microseconds
                and policy.timeout_action is TimeoutAction.REJECT
                else None
            ),
            timeout_override=policy is not None and policy.allow_timeout_override,
        )

    def _code(
        self, config: ModelConfig, version: VersionOffer, undo: ExitStack
    ) -> tuple[Part | None, Part | None]:
        context = Context(
            model=config.name,
            version=version.version,
            directory=version.directory,
            parameters=config.parameters,
        )
        pre = post = None
        if version.pre is not None:
            pre = Part(open_pre(version.pre, context), config.name, version.version, "pre")
            undo.callback(pre.close)
        if version.post is not None:
            post = Part(open_post(version.post, context), config.name, version.version, "post")
            undo.callback(post.close)
        return pre, post


def signature_of(config: ModelConfig) -> Signature:
    rows = config.max_batch_size or 0
    return Signature(
        config.name,
        [tensor.spec(rows > 0) for tensor in config.inputs],
        [tensor.spec(rows > 0) for tensor in config.outputs],
        rows,
        frozenset(tensor.name for tensor in config.inputs if tensor.optional),
    )


def _sample(examples: tuple[golden.GoldenExample, ...], pre: Part | None) -> Tensors | None:
    """One good request as the model itself sees it: an example, through the version's own pre-processing."""
    for example in examples:
        if pre is None:
            return example.inputs
        try:
            return pre.run(example.inputs, "golden example", example.parameters)
        except ServingError:
            continue
    return None


def labels_of(config: ModelConfig, files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Output name -> its class names. Raises `ModelBroken` for a label file that cannot be read."""
    labels: dict[str, tuple[str, ...]] = {}
    for tensor in config.outputs:
        if not tensor.label_filename:
            continue
        path = files.get(tensor.label_filename)
        if path is None:
            raise ModelBroken(
                f"output '{tensor.name}' names the label file {tensor.label_filename}, which is not there"
            )
        try:
            labels[tensor.name] = tuple(path.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise ModelBroken(f"the label file {tensor.label_filename} cannot be read: {error}") from None
    return labels
