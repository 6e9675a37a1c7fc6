"""Opens everything that one version needs, and joins it to something that serves.

`load` blocks and runs on a loader thread: files, sessions, code. `assemble` runs on the event loop:
the batcher and the instances over those sessions. Whatever fails, what was opened is closed again.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from runtimes.code import Context, open_post, open_pre
from runtimes.device import Device, cuda_devices
from runtimes.errors import DeviceMissing, ModelBroken, SignatureUnknown
from runtimes.opening import open_session, platform_of
from runtimes.session import ModelFile, Session
from runtimes.threads import threads_per_model
from runtimes.worker.home import Home, home_of
from runtimes.worker.workers import Workers, WorkerSession
from server.domain.catalogue import VersionFacts
from server.domain.configuration import InstanceGroup, ModelConfig, Platform
from server.domain.offer import ModelOffer, VersionOffer
from server.domain.signature import Signature
from server.lifecycle.described import Described, interface
from server.lifecycle.giving_back import GivingBack
from server.lifecycle.graphs import graph_parameters
from server.lifecycle.instances import Content, Instances, in_place
from server.lifecycle.load_meter import LoadMeter
from server.lifecycle.part import Part
from server.lifecycle.placement import Placement, place
from server.lifecycle.planning import plan_of
from server.lifecycle.rehearsal import rehearse, sample_of
from server.lifecycle.residency.estimate import Reading
from server.lifecycle.version import ServedVersion
from server.lifecycle.warmup import NOTHING_LEARNED, Learned
from server.observe.copies import Copies
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.padding import PadRule
from server.scheduling.plan import Plan
from server.scheduling.resources import Limit, ResourceShort, check_limits, needs_of
from server.scheduling.turns import Turns
from server.wire import golden

MIB = 2**20
WORKER_BYTES: Mapping[str, int] = {Platform.ONNX: 60 * MIB, Platform.TORCHSCRIPT: 176 * MIB}
"""Resident of a worker process with a model of next to nothing, pages that it shares among them."""

ELSEWHERE = (
    'its model is on another server (backend: "remote"): have a pre or a post tier serve its code, '
    "and name that server with --predict-endpoints=oip://HOST:PORT"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One version with everything open, not serving yet.

    described   what its files say, to know it by when it is closed
    file        what was opened, on whichever device
    learned     how long runs took before anybody asked, for who schedules them
    seconds     of all of it, `warmup_seconds` included
    reading     what memory it was seen to take
    """

    model: str
    version: int
    config: ModelConfig
    described: Described
    file: ModelFile
    placements: tuple[Placement, ...]
    sessions: Mapping[Device, Session]
    pre: Part | None
    post: Part | None
    sees: Signature
    predicts: Signature
    padding: PadRule | None
    labels: Mapping[str, tuple[str, ...]]
    examples: tuple[golden.GoldenExample, ...]
    learned: Learned
    seconds: float
    warmup_seconds: float
    reading: Reading

    def close(self) -> None:
        """Where it does not come to serve after all."""
        for part in (self.pre, self.post):
            if part is not None:
                part.close()
        for session in self.sessions.values():
            session.close()


class Loader:
    """Makes versions.

    cpu_budget        threads, for all models together
    max_queue_size    requests that may wait for a version whose configuration has no limit
    max_queue_bytes   bytes of their inputs, whatever the configuration says
    turns             whose run is next on the devices that all share
    copies            is told of what runs had to lay anew
    resource_limits   what there is for the rate limiter; none where it is off, or has what instances need
    fair_clients      whether the clients that the doors tell apart share each queue
    workers           processes for models that are to live in one; None to open every model here
    giving_back       through which what is retired gives its memory back
    """

    def __init__(
        self,
        *,
        cpu_budget: int,
        max_queue_size: int,
        max_queue_bytes: int = 2**28,
        turns: Turns | None = None,
        copies: Copies | None = None,
        auto_complete: bool = True,
        resource_limits: Sequence[Limit] = (),
        fair_clients: bool = False,
        workers: Workers | None = None,
        giving_back: GivingBack | None = None,
    ) -> None:
        self._cpu_budget = cpu_budget
        self._max_queue_size = max_queue_size
        self._max_queue_bytes = max_queue_bytes
        self._turns = turns or Turns(processors=cpu_budget)
        self._copies = copies
        self._auto_complete = auto_complete
        self._resource_limits = tuple(resource_limits)
        self._fair_clients = fair_clients
        self._workers = workers
        self._giving_back = giving_back or GivingBack()
        self._meter = LoadMeter()

    def load(
        self,
        offer: ModelOffer,
        version: VersionOffer,
        models: int,
        *,
        measures: bool = False,
        prepared: Path | None = None,
    ) -> Loaded:
        """Open a version that shares the processors with so many `models`.

        With `measures`, look what memory it takes, which holds up the process for some milliseconds. What was
        `prepared` of its model file is opened in place of that, on the processor.

        Blocks. Raises a `RuntimeFault`, a `ServingError`, `ConfigContradicts` or `ResourceShort`: its
        sentence says why not.
        """
        began = monotonic()
        assert offer.config is not None
        config = offer.config
        if version.model_file is None:
            raise ModelBroken(ELSEWHERE)
        platform = platform_for(config, version)
        placements = self.placements(config, platform)
        devices = list(dict.fromkeys(placement.device for placement in placements))
        watching = self._meter.around(devices if measures else (), version.directory)
        with watching as watched, ExitStack() as undo:
            pre, post = self._code(config, version, undo)
            examples = tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples)
            sample = sample_of(examples, pre)
            file = ModelFile(
                path=version.model_file,
                platform=platform,
                inputs=tuple(tensor.spec(bool(config.max_batch_size)) for tensor in config.inputs),
                outputs=tuple(tensor.spec(bool(config.max_batch_size)) for tensor in config.outputs),
                samples=sample,
                threads=threads_per_model(self._cpu_budget, models),
                parameters={**config.parameters, **graph_parameters(config)},
            )
            home = self._home(config)
            sessions: dict[Device, Session] = {}
            for device in devices:
                on_device = replace(file, device=device, prepared=prepared if device.kind == "cpu" else None)
                session = self._open(on_device, home, config.name, version.version)
                undo.callback(session.close)
                sessions[device] = session
            description = next(iter(sessions.values())).description
            if not self._auto_complete and not (config.inputs and config.outputs):
                raise SignatureUnknown(
                    "the configuration names no inputs or outputs, and auto-completion is off; "
                    "declare them, or start without --disable-auto-complete-config"
                )
            described = Described(
                platform,
                description,
                pre.contract if pre is not None else None,
                post.contract if post is not None else None,
                staged=pre is not None or post is not None,
            )
            outside = interface(config, described, version.version)
            config, padding, predicts = outside.config, outside.padding, outside.predicts
            labels = labels_of(config, offer.labels)
            warming = monotonic()
            learned = rehearse(config, offer.directory, predicts, sessions, padding, sample)
            warmup_seconds = monotonic() - warming
            undo.pop_all()
        return Loaded(
            model=config.name,
            version=version.version,
            config=config,
            described=described,
            file=file,
            placements=placements,
            sessions=sessions,
            pre=pre,
            post=post,
            sees=outside.sees,
            predicts=predicts,
            padding=padding,
            labels=labels,
            examples=examples,
            learned=learned,
            seconds=monotonic() - began,
            warmup_seconds=warmup_seconds,
            reading=replace(watched.reading, elsewhere=_elsewhere(sessions, home)),
        )

    def placements(self, config: ModelConfig, platform: Platform) -> tuple[Placement, ...]:
        """Where the instances are to stand. Raises `DeviceMissing` or `ResourceShort`."""
        placements = place(config.instance_groups or (InstanceGroup(),), platform, cuda_devices(platform))
        for placement in placements:
            check_limits(needs_of(placement.resources, str(placement.device)), self._resource_limits)
        return placements

    def process_bytes(self, config: ModelConfig, platform: Platform) -> int:
        """What the process takes, without the model, that a version is to have for itself; 0 if it has none.

        Raises `ModelBroken`.
        """
        home = self._home(config)
        if self._workers is None or not home.in_worker or home.group:
            return 0
        return WORKER_BYTES.get(platform, 0)

    def resize(self, serving: ServedVersion, offer: ModelOffer, content: Content) -> bool:
        """On the event loop: give what serves other instances. False if that is not all that has changed."""
        assert offer.config is not None
        platform = Platform(serving.facts.platform)
        try:
            placements = self.placements(offer.config, platform)
            if not in_place(serving.content, content, serving.devices, placements):
                return False
            serving.resize(placements, offer.config, content)
        except (DeviceMissing, ResourceShort):  # the load will say so, and what serves goes on
            return False
        return True

    def assemble(
        self,
        loaded: Loaded,
        content: Content,
        tally: Tally | None = None,
        learned: Learned = NOTHING_LEARNED,
    ) -> ServedVersion:
        """On the event loop: the queue, the rule and the instances over the sessions.

        One that was in memory before goes on with its `tally`, and what it had `learned` of its runs.
        """
        config = loaded.config
        tally = Tally() if tally is None else tally
        tally.load_seconds = loaded.seconds
        fill = tally.fill("rows") if config.pad_rows_to else None
        instances = Instances(f"{loaded.model}/{loaded.version}", loaded.sessions, config, fill)
        instances.place(loaded.placements)
        plan = self.plan(config, loaded.predicts)
        facts = VersionFacts(
            model=loaded.model,
            version=loaded.version,
            platform=loaded.described.platform,
            config=config,
            signature=loaded.sees,
            tally=tally,
            devices=tuple(map(str, loaded.sessions)),
            load_seconds=loaded.seconds,
            warmup_seconds=loaded.warmup_seconds,
            labels=loaded.labels,
            examples=loaded.examples,
        )
        return ServedVersion(
            facts=facts,
            content=content,
            predicts=loaded.predicts,
            batcher=Batcher(
                model=loaded.model,
                version=loaded.version,
                plan=plan,
                slots=list(instances),
                in_place=all(
                    device.kind == "cpu" and session.description.steady
                    for device, session in loaded.sessions.items()
                ),
                tally=tally,
                turns=self._turns,
                copies=self._copies,
            ),
            instances=instances,
            sessions=tuple(loaded.sessions.values()),
            pre=loaded.pre,
            post=loaded.post,
            padding=loaded.padding,
            plan=plan,
            learned={**learned, **loaded.learned},
            reading=loaded.reading,
            giving_back=self._giving_back,
        )

    def plan(self, config: ModelConfig, predicts: Signature) -> Plan:
        """How the requests of a version wait, leave and run."""
        return plan_of(
            config,
            predicts,
            max_queue_size=self._max_queue_size,
            max_queue_bytes=self._max_queue_bytes,
            fair_clients=self._fair_clients,
        )

    def _home(self, config: ModelConfig) -> Home:
        return home_of(config.parameters, self._workers.default if self._workers else "off")

    def _open(self, file: ModelFile, home: Home, model: str, version: int) -> Session:
        if self._workers is None or not home.in_worker:
            return open_session(file)
        return self._workers.open(file, home, f"model '{model}' version {version}")

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
        if version.pre is not None and version.loads("pre"):
            pre = Part(open_pre(version.pre, context), config.name, version.version, "pre")
            undo.callback(pre.close)
        if version.post is not None and version.loads("post"):
            post = Part(open_post(version.post, context), config.name, version.version, "post")
            undo.callback(post.close)
        return pre, post


def _elsewhere(sessions: Mapping[Device, Session], home: Home) -> int:
    """Bytes of the worker processes that have this version alone."""
    if home.group:
        return 0
    return sum(each.resident_bytes for each in sessions.values() if isinstance(each, WorkerSession))


def platform_for(config: ModelConfig, version: VersionOffer) -> Platform:
    """What a configuration says, or else the name of the file."""
    name = version.model_file.name if version.model_file is not None else ""
    return config.platform or Platform(platform_of(name) or Platform.ONNX)


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
            raise ModelBroken(f"the label file {tensor.label_filename} cannot be read: {error}") from error
    return labels
