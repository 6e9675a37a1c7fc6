"""All worker processes of a server: opens a model in the one where it is to live."""

import threading
from collections.abc import Sequence

from runtimes.memory import resident_bytes
from runtimes.opening import platform_of
from runtimes.session import ModelFile
from runtimes.tensors import Array, Tensors
from runtimes.worker.home import Default, Home
from runtimes.worker.news import Tell
from runtimes.worker.start import Nursery
from runtimes.worker.worker import WorkedModel, Worker, WorkerLimits

SHARED_IMPORTS = ("pytorch_libtorch",)
"""Platforms whose library a nursery can import for all of its workers; onnxruntime starts a thread at
import."""


class WorkerSession:
    """A model in a worker process, behind the interface of one that is here."""

    def __init__(self, workers: "Workers", worker: Worker, group: str, model: WorkedModel) -> None:
        self.description = model.description
        self._workers = workers
        self._worker = worker
        self._group = group
        self._model = model

    def run(self, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
        return self._worker.run(self._model, inputs, outputs)

    def close(self) -> None:
        """Where it was the last model of its worker, the process goes, and all its memory with it."""
        self._workers.let_go(self._worker, self._group, self._model)

    def watch(self, tell: Tell) -> None:
        """Have what becomes of the process told, on a thread of the worker's; one watcher at a time."""
        self._model.watch(tell)

    @property
    def copied_bytes(self) -> int:
        """Of tensors that went there and came back, of all models of the worker."""
        return self._worker.copied_bytes

    @property
    def pid(self) -> int | None:
        """Of the process that it lives in; None while it is being started again."""
        return self._worker.pid

    @property
    def resident_bytes(self) -> int:
        """Of that process, the other models of a group among them; 0 while there is none."""
        pid = self._worker.pid
        return resident_bytes(pid) if pid is not None else 0


class Workers:
    """Thread-safe. Closed by its owner, after every session.

    default   where models live that do not say it themselves
    """

    def __init__(self, default: Default = "off", limits: WorkerLimits | None = None) -> None:
        self.default = default
        self._limits = limits or WorkerLimits()
        self._changing = threading.Lock()
        self._nurseries: dict[str, Nursery] = {}
        self._groups: dict[str, Worker] = {}
        self._users: dict[Worker, int] = {}

    def open(self, file: ModelFile, home: Home, label: str) -> WorkerSession:
        """Open a model in a worker; `label` names it in sentences. Blocks; raises a `RuntimeFault`."""
        with self._changing:
            worker = self._groups.get(home.group) if home.group else None
            if worker is None:
                worker = Worker(home.group or label, self._nursery(file), self._limits)
                self._users[worker] = 0
                if home.group:
                    self._groups[home.group] = worker
            self._users[worker] += 1
        try:
            return WorkerSession(self, worker, home.group, worker.open(file, label))
        except BaseException:
            self._leave(worker, home.group)
            raise

    def let_go(self, worker: Worker, group: str, model: WorkedModel) -> None:
        worker.remove(model)
        self._leave(worker, group)

    def close(self) -> None:
        """End whatever is left."""
        for worker in list(self._users):
            worker.close()
        for nursery in self._nurseries.values():
            nursery.close()

    def _leave(self, worker: Worker, group: str) -> None:
        with self._changing:
            self._users[worker] -= 1
            if self._users[worker]:
                return
            del self._users[worker]
            if group and self._groups.get(group) is worker:
                del self._groups[group]
        worker.close()

    def _nursery(self, file: ModelFile) -> Nursery:
        platform = file.platform or platform_of(file.path.name)
        shared = platform if platform in SHARED_IMPORTS else ""
        return self._nurseries.setdefault(shared, Nursery(shared))
