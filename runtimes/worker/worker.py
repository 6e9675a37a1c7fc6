"""One worker process and the models in it, as the server sees them: asked, watched, started again, given up.

Every life of the process has a thread that reads what it prints and waits for its end. Whoever sees the end
brings up the next life: after a while (`crashes`), with every model opened again. Runs that were under way
fail, those that come meanwhile wait for it, for as long as `PATIENCE_S` says.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from runtimes.errors import InputRefused, ModelBroken, RunFailed, RuntimeBusy, RuntimeFault, RuntimeLost
from runtimes.packing import Garbled, Packed, unpacked
from runtimes.session import Description, ModelFile
from runtimes.slab import Place, Slab, SlabFull
from runtimes.tensors import Array, Tensors
from runtimes.worker.crashes import CrashRule, Quarantine
from runtimes.worker.lane import Lane, LaneGarbled, LaneLost
from runtimes.worker.life import Life
from runtimes.worker.news import Down, News, Out, Tell, Up
from runtimes.worker.room import Room
from runtimes.worker.start import Nursery
from runtimes.worker.telling import description_of, file_told

log = structlog.get_logger(__name__)

PATIENCE_S = 10.0
"""How long a run waits for a worker that is being started again."""

ROOM_WITHIN_S = 30.0
"""How long a run waits for room in what is shared with its process, or less where a run may take less."""

PARTING_S = 5.0
"""For a process that is being ended to be gone."""

OPEN_WITHIN_S = 600.0
"""For a model to be opened there: whether it can be has been tried before, with a limit of the operator's."""

LENT_FROM_BYTES = 1 << 16
"""Outputs below are copied: that costs less than keeping count of who still reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """
    run_s         longest a run may take; a worker that hangs beyond it is killed
    slab_bytes    of tensors that are under way to and from one worker
    crashes       when a worker that crashed is started again
    """

    run_s: float = 300.0
    slab_bytes: int = 2**28
    crashes: CrashRule = field(default_factory=CrashRule)


class WorkedModel:
    """A model that is open in a worker. `label` is how sentences name it."""

    def __init__(self, number: int, file: ModelFile, label: str, description: Description) -> None:
        self.number = number
        self.file = file
        self.label = label
        self.description = description
        self.room = Room(description)
        self._watcher: Tell | None = None
        self.out = ""

    def tell(self, news: News) -> None:
        if isinstance(news, Out):
            self.out = news.why
        if self._watcher is not None:
            self._watcher(news)

    def watch(self, tell: Tell) -> None:
        """What has become of it already is told at once."""
        self._watcher = tell
        if self.out:
            tell(Out(self.out))


class Worker:
    """Owned by who made it, who closes it; its threads end then.

    name    how the log calls it
    """

    def __init__(self, name: str, nursery: Nursery, limits: WorkerLimits) -> None:
        self._name = name
        self._nursery = nursery
        self._limits = limits
        self._slab = Slab(limits.slab_bytes)
        self._change = threading.Condition()
        self._models: dict[int, WorkedModel] = {}
        self._life: Life | None = None
        self._next: Life | None = None
        self._coming = False
        self._closed = False
        self._why = ""
        self._numbers = 0
        self._crashes: list[float] = []
        self.copied_bytes = 0
        """Of tensors, into the slab and out of it; what is lent is not copied."""

    @property
    def pid(self) -> int | None:
        """Of the process, while it is up."""
        life = self._life
        return life.process.pid if life is not None else None

    def open(self, file: ModelFile, label: str) -> WorkedModel:
        """Open a model there. Blocks. Raises a `RuntimeFault`; what crashes the process is one, too."""
        life = self._up(label, OPEN_WITHIN_S)
        with self._change:
            self._numbers += 1
            number = self._numbers
        try:
            description = self._opened(life, number, file)
        except LaneLost as lost:
            self._part(life, lost)
            raise ModelBroken(
                f"{file.path.name} could not be opened: the runtime worker that it was to live in {life.why}"
            ) from None
        model = WorkedModel(number, file, label, description)
        with self._change:
            if self._life is life:
                self._models[number] = model
                return model
        raise RuntimeLost(f"{label}: its runtime worker {life.why} just after it was opened there")

    def run(self, model: WorkedModel, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        """See `runtimes.session.Session.run`; besides, raises `RuntimeLost` or `RuntimeBusy`."""
        life = self._life
        if life is None or model.out:
            life = self._up(model.label, PATIENCE_S, model)
        sent = _packed(inputs)
        if sent.size >= self._slab.size:
            raise InputRefused(
                f"the inputs have {sent.size} bytes, which do not fit into the {self._slab.size} that are "
                "shared with the process of the model"
            )
        patience_s = min(ROOM_WITHIN_S, self._limits.run_s)
        place = self._place(model.label, sent.size + model.room.for_inputs(inputs), patience_s)
        try:
            sent.lay(place.view)
            self.copied_bytes += sent.size
            lane = life.lane()
        except LaneLost:
            place.release()
            raise _lost(model, life) from None
        except BaseException:  # no descriptor left, say: nothing has been asked for
            place.release()
            raise
        try:
            place, begins, answer = self._asked(model, life, lane, sent, place, outputs)
            results = self._taken(model, inputs, place, begins, answer)
        except LaneLost as lost:
            lane.close()
            self._part(life, lost)
            self._strand(life, place)
            raise _lost(model, life) from None
        except RuntimeFault:
            place.release()
            life.keep(lane)
            raise
        except BaseException:  # a fault of ours: who knows whether it is read there
            lane.close()
            self._strand(life, place)
            raise
        life.keep(lane)
        return results

    def remove(self, model: WorkedModel) -> None:
        """Close a model there. No run of it is in progress. With the last one, all that is left is to
        close."""
        with self._change:
            self._models.pop(model.number, None)
            life = self._life if self._models else None
        if life is not None:
            try:
                life.ask({"do": "close", "model": model.number}, PARTING_S)
            except (LaneLost, RuntimeFault, OSError):
                log.warning("runtime_worker_close_failed", worker=self._name, model=model.label)

    def close(self) -> None:
        """Have the process go, and wait for that. No run is in progress, and none follows."""
        with self._change:
            self._closed = True
            life, following = self._life, self._next
            self._change.notify_all()
        if following is not None:  # it may be busy with opening what nobody wants any more
            following.process.kill()
            following.over.wait(PARTING_S)
        if life is not None:
            life.process.leave()
            if not life.over.wait(PARTING_S):
                life.process.kill()
                life.over.wait(PARTING_S)
        self._slab.close()

    # Runs.

    def _place(self, label: str, size: int, within_s: float) -> Place:
        """Raises `RuntimeBusy`, or `RunFailed` for more than there is at all."""
        try:
            return self._slab.take(size, within_s)
        except SlabFull as full:
            if size > self._slab.size:
                raise RunFailed(str(full)) from None
            raise RuntimeBusy(f"{label} cannot run now: {full}; ask again") from None

    def _asked(
        self,
        model: WorkedModel,
        life: Life,
        lane: Lane,
        sent: Packed,
        place: Place,
        outputs: Sequence[str],
    ) -> tuple[Place, int, Any]:
        """Have it run: where the outputs lie, from where on, and what was told of them."""
        within_s = self._limits.run_s
        question = {
            "do": "run",
            "model": model.number,
            "inputs": sent.told,
            "from": [place.start, sent.size],
            "outputs": outputs,
            "room": [place.start + sent.size, place.size - sent.size],
        }
        answer, begins = lane.ask(question, within_s), sent.size
        if "short" in answer:  # its inputs are not needed any more, and the room was too small
            short = answer["short"]
            if not isinstance(short, int):
                raise LaneGarbled
            place.release()
            place, begins = self._place(model.label, short, min(ROOM_WITHIN_S, within_s)), 0
            try:
                answer = lane.ask({"do": "put", "room": [place.start, place.size]}, within_s)
            except RuntimeFault:
                place.release()
                raise
            except BaseException:
                self._strand(life, place)
                raise
        return place, begins, answer.get("outputs")

    def _taken(
        self, model: WorkedModel, inputs: Tensors, place: Place, begins: int, told: Any
    ) -> dict[str, Array]:
        """The outputs: lent where they are large and there is room for others, else copied. Raises
        `LaneGarbled` where what is told of them is not so, and keeps the place then."""
        try:
            size = max([start + size for *_, start, size in told], default=0)
            results = unpacked(told, place.view[begins : begins + size])
        except (Garbled, TypeError, ValueError):
            raise LaneGarbled from None
        model.room.note(inputs, size)
        if size >= LENT_FROM_BYTES and self._slab.free > self._slab.size // 2:
            return unpacked(told, place.lend()[begins : begins + size])
        results = {name: array.copy() for name, array in results.items()}
        self.copied_bytes += size
        place.release()
        return results

    def _strand(self, life: Life, place: Place) -> None:
        """A place that the process may write to until it is gone."""
        with self._change:
            if not life.over.is_set():
                life.stranded.append(place)
                return
        place.release()

    def _part(self, life: Life, lost: LaneLost) -> None:
        """This life is at its end: wait for it, and see to it where it does not go by itself."""
        if lost.fault:
            life.killed = f"was killed, as it {lost.fault}"
        if lost.fault or not life.over.wait(PARTING_S):
            life.process.kill()
            life.over.wait(PARTING_S)

    def _up(self, label: str, within_s: float, model: WorkedModel | None = None) -> Life:
        """The process, once it is there. Raises `RuntimeLost`."""
        until = monotonic() + within_s
        with self._change:
            while True:
                if model is not None and model.out:
                    raise RuntimeLost(f"{label} cannot run: {model.out}")
                if self._closed:
                    raise RuntimeLost(f"{label} is closed")
                if self._life is not None:
                    return self._life
                if not self._coming:
                    self._life = self._begin()
                    return self._life
                if not self._change.wait(until - monotonic()):
                    raise RuntimeLost(
                        f"{label} cannot run now: its runtime worker {self._why}, and is being started again"
                    )

    # Lives.

    def _begin(self) -> Life:
        """A process, and a thread that stays with it to its end. Raises `RuntimeLost`."""
        try:
            life = Life(self._nursery.start(self._slab.descriptor))
        except OSError as error:
            raise RuntimeLost(f"no runtime worker could be started: {error}") from error
        threading.Thread(target=self._stay, args=(life,), name=f"worker {self._name}", daemon=True).start()
        return life

    def _stay(self, life: Life) -> None:
        """Until this life is over; then see to the next one, if there is to be one."""
        life.ended = life.process.ending(
            lambda line: log.warning("runtime_worker_said", worker=self._name, line=line)
        )
        with self._change:
            life.end()
            for place in life.stranded:
                place.release()
            if self._life is life:
                self._life = None
            if self._next is life:
                self._next = None
            self._why = life.why
            is_wanted = bool(self._models) and not self._closed
            self._coming = is_wanted
            self._change.notify_all()
        if is_wanted:
            self._recover(life)

    def _recover(self, life: Life) -> None:
        """Bring up another one after a while, or give it up."""
        now = monotonic()
        assert life.ended is not None
        if life.ended.is_crash:
            self._crashes = [*self._limits.crashes.lately(self._crashes, now), now]
        decided = self._limits.crashes.decide(self._crashes, now)
        if isinstance(decided, Quarantine):
            why = (
                f"its runtime worker {life.why}; with {decided.crashes} crashes within "
                f"{decided.within_s:g} s it is not started again at once"
            )
            log.error(
                "runtime_worker_quarantined", worker=self._name, reason=life.why, crashes=decided.crashes
            )
            self._give_up(why)
            return
        log.error("runtime_worker_lost", worker=self._name, reason=life.why, wait_s=round(decided.wait_s, 1))
        self._tell(Down(f"its runtime worker {life.why}, and is being started again", decided.wait_s))
        try:
            with self._change:
                if self._change.wait_for(lambda: self._closed, decided.wait_s):
                    return
                self._next = following = self._begin()
        except RuntimeLost as error:
            self._give_up(str(error))
            return
        try:
            for model in list(self._models.values()):
                self._open_again(following, model)
        except LaneLost as lost:  # it has crashed again, and its own thread sees to it
            if lost.fault:
                self._part(following, lost)
            return
        with self._change:
            if self._closed or following.over.is_set():
                return
            self._life, self._next, self._coming = following, None, False
            self._change.notify_all()
        log.info("runtime_worker_started", worker=self._name)
        self._tell(Up())

    def _open_again(self, life: Life, model: WorkedModel) -> None:
        """Raises `LaneLost`. A model that cannot be opened any more is out, and others are not."""
        if model.out:
            return
        try:
            description = self._opened(life, model.number, model.file)
            why = "" if description == model.description else "its file has changed since"
        except RuntimeFault as fault:
            why = str(fault)
        if why:
            model.tell(Out(f"its runtime worker {self._why}, and it could not be opened again: {why}"))

    def _opened(self, life: Life, number: int, file: ModelFile) -> Description:
        """Raises `LaneLost` or a `RuntimeFault`."""
        samples = Packed.of(file.samples or {})
        place = self._place(file.path.name, samples.size, self._limits.run_s)
        try:
            samples.lay(place.view)
            answer = life.ask(
                {
                    "do": "open",
                    "model": number,
                    "file": file_told(file),
                    "samples": None if file.samples is None else samples.told,
                    "from": [place.start, samples.size],
                },
                OPEN_WITHIN_S,
            )
        finally:
            place.release()  # it is only read there
        try:
            return description_of(answer["description"])
        except (KeyError, TypeError, ValueError):
            raise LaneGarbled from None

    def _give_up(self, why: str) -> None:
        self._tell(Out(why))
        with self._change:
            self._coming = False
            self._change.notify_all()

    def _tell(self, news: News) -> None:
        for model in list(self._models.values()):
            model.tell(news)


def _packed(inputs: Tensors) -> Packed:
    try:
        return Packed.of(inputs)
    except KeyError as error:
        raise RunFailed(
            f"an input has the dtype {error}, which no datatype of the protocol carries"
        ) from None


def _lost(model: WorkedModel, life: Life) -> RuntimeLost:
    return RuntimeLost(f"{model.label} did not finish this run: its runtime worker {life.why}; ask again")
