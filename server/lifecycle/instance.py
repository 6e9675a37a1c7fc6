"""One place where a model runs: a thread that waits for runs, over a session that is shared.

The thread is made when the first run is handed to it, so a model whose runs are all done in place
never has one. The owner closes the instance after its last run.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

from runtimes.errors import InputRefused, RuntimeBusy, RuntimeLost
from runtimes.session import Session
from server.domain.configuration import ModelConfig, TensorConfig
from server.domain.errors import InvalidRequest, RuntimeDown, RuntimeFull
from server.domain.tensors import Array, Tensors
from server.observe.tally import Fill
from server.precedence import give_way
from server.scheduling.padding import drop_rows, elements, fill_rows
from server.scheduling.resources import NO_NEEDS, Needs

Shapes = Mapping[str, tuple[int, ...]]
Work = tuple[Callable[[], None], Callable[[], None]]


class Instance:
    """A slot of the batcher. `start` is called on the event loop, one run at a time.

    device            where it stands, such as cpu or cuda:0
    needs, priority   what the rate limiter is told of its runs

    Runs are filled up here to the row counts that the model likes, so that the batcher and all that it
    counts see real rows alone; what that adds is told to `fill`.
    """

    def __init__(
        self,
        name: str,
        device: str,
        session: Session,
        config: ModelConfig,
        *,
        needs: Needs = NO_NEEDS,
        priority: int = 0,
        fill: Fill | None = None,
    ) -> None:
        self.needs = needs
        self.priority = priority
        self._name = name
        self.device = device
        self._session = session
        self._outputs = tuple(tensor.name for tensor in config.outputs)
        self._into = _reshapes(config.inputs)
        self._from = {tensor.name: tensor.dims for tensor in config.outputs if tensor.reshape is not None}
        self._rows = bool(config.max_batch_size)
        self._row_counts = config.pad_rows_to
        self._fill = fill
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Run on the calling thread. Raises `InvalidRequest`, `RuntimeDown`, `RuntimeFull` or `RunFailed`."""
        rows = filled = 0
        if self._row_counts:
            inputs, rows, filled = self._filled(inputs)
        try:
            if self._into:
                inputs = self._shaped(inputs, self._into)
            outputs = self._session.run(inputs, self._outputs)
        except InputRefused as refusal:
            raise InvalidRequest(str(refusal)) from None
        except RuntimeLost as lost:
            raise RuntimeDown(str(lost)) from None
        except RuntimeBusy as busy:
            raise RuntimeFull(str(busy)) from None
        if self._from:
            outputs = self._shaped(outputs, self._from)
        return drop_rows(outputs, rows, filled) if filled > rows else outputs

    def _filled(self, inputs: Tensors) -> tuple[Tensors, int, int]:
        """The inputs with as many rows as the model likes; how many came, and how many there are now."""
        rows = next(iter(inputs.values())).shape[0]
        filled, count = fill_rows(inputs, self._row_counts)
        if self._fill is not None:
            real = elements(inputs)
            self._fill.add(real, elements(filled) - real)
        return filled, rows, count

    def _shaped(self, tensors: Tensors, shapes: Shapes) -> dict[str, Array]:
        """The same elements under the shapes that the other side wants; rows stay rows."""
        return {
            name: (
                array.reshape((array.shape[0], *shapes[name]) if self._rows else shapes[name])
                if name in shapes
                else array
            )
            for name, array in tensors.items()
        }

    def start(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._serve, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        self._works.put((work, done))

    def close(self) -> None:
        """End the thread after the run that it is in, if any. Does not wait."""
        if self._thread is not None:
            self._works.put(None)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        give_way()
        while (item := self._works.get()) is not None:
            work, done = item
            work()
            try:
                loop.call_soon_threadsafe(done)
            except RuntimeError:  # the loop was closed under a run that outlived the server's patience
                return
            del item, work, done  # hold no batch while waiting for the next


def _reshapes(tensors: Sequence[TensorConfig]) -> Shapes:
    return {tensor.name: tensor.reshape for tensor in tensors if tensor.reshape is not None}
