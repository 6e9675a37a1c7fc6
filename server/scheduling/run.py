"""One batch on its way through a slot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import thread_time_ns

from server.domain.errors import InferenceFailed, RuntimeDown, RuntimeFull, ServerStopping, ServingError
from server.domain.tensors import Tensors
from server.observe.tracing.parent import Parent
from server.scheduling.profile import Curve
from server.scheduling.rule import Why
from server.scheduling.slot import Slot
from server.scheduling.stack import check_rows, contiguous, stack
from server.scheduling.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Manner:
    """What the runs of one model version have in common.

    batches       whether the model has a batch dimension
    is_measured   whether processor time is, too; it costs two calls into the kernel
    """

    model: str
    version: int
    batches: bool
    is_measured: bool
    clock: Callable[[], int]


class Run:
    """`work` may run on any thread; the rest is the loop's. Times are nanoseconds of `clock`.

    rows       of all its tickets
    elements   of its inputs, where their shapes vary; 0 where the rows tell all
    why        it left when it did
    in_place   whether it runs on the event loop
    trace      the span of it, where a sampled request was in it
    outputs    once it is over: of all its rows, which are its tickets' in their order; None where there are
               answers
    answers    one for each ticket, where the run failed: what came of it alone, or why not
    curve      of runs like it, where that is known
    expected   how long the run was expected to take; 0 for unknown
    short_ns   by how much it was made shorter than it would have been, for its oldest to be on time
    left       when it was handed to its slot
    began      gathering the inputs began
    inferred   the model began
    ended      the model ended, and its rows were counted
    copied     bytes of inputs that had to be laid anew
    computed   processor time of its thread, where that is measured
    """

    __slots__ = (
        "_manner",
        "answers",
        "began",
        "computed",
        "copied",
        "curve",
        "elements",
        "ended",
        "expected",
        "failed",
        "in_place",
        "inferred",
        "left",
        "outputs",
        "rows",
        "short_ns",
        "slot",
        "tickets",
        "trace",
        "why",
    )

    def __init__(
        self,
        manner: Manner,
        slot: Slot,
        tickets: Sequence[Ticket],
        rows: int,
        why: Why,
    ) -> None:
        self._manner = manner
        self.slot = slot
        self.tickets = tickets
        self.rows = rows
        self.why = why
        self.elements = 0
        self.in_place = False
        self.curve: Curve | None = None
        self.expected = self.short_ns = 0.0
        self.outputs: Tensors | None = None
        self.answers: Sequence[Tensors | ServingError] = ()
        self.failed = False
        self.trace: Parent | None = None
        self.left = self.began = self.inferred = self.ended = self.computed = self.copied = 0

    def work(self) -> None:
        """Gather the inputs, run the model, count the rows. Never raises: a failure is an answer.

        If several went together and the run failed, each goes again alone, so that one poisonous
        request fails only itself. Not so where the model's process ended with the run: it would end again;
        nor where there was no room for it: it has waited for that.
        """
        manner = self._manner
        self.began = manner.clock()
        busy = thread_time_ns() if manner.is_measured else 0
        try:
            self.outputs = self._run(self.tickets)
        except Exception as error:
            self.failed = True
            if len(self.tickets) == 1 or isinstance(error, (RuntimeDown, RuntimeFull)):
                self.answers = [self._failure(error) for _ in self.tickets]
            else:
                self.answers = [self._run_alone(ticket) for ticket in self.tickets]
        self.ended = manner.clock()
        if manner.is_measured:
            self.computed = thread_time_ns() - busy
        if not self.inferred:
            self.inferred = self.began

    def cannot_start(self, error: Exception) -> None:
        """Its slot did not take it."""
        self.began = self.inferred = self.ended = self._manner.clock()
        self.failed = True
        self.answers = [self._failure(error) for _ in self.tickets]

    def _run(self, tickets: Sequence[Ticket]) -> Tensors:
        first = tickets[0]
        alone = len(tickets) == 1
        inputs = contiguous(first.inputs) if alone else stack([ticket.inputs for ticket in tickets])
        if inputs is not first.inputs:
            for name in inputs:
                if inputs[name] is not first.inputs[name]:
                    self.copied += inputs[name].nbytes
        manner = self._manner
        self.inferred = manner.clock()
        outputs = self.slot.run(inputs)
        if manner.batches:
            check_rows(outputs, first.rows if alone else self.rows)
        return outputs

    def _run_alone(self, ticket: Ticket) -> Tensors | ServingError:
        if ticket.settled:
            return ServerStopping()  # already settled: nobody hears this
        try:
            return self._run([ticket])
        except Exception as error:
            return self._failure(error)

    def _failure(self, error: Exception) -> ServingError:
        if isinstance(error, ServingError):
            return error
        return InferenceFailed(self._manner.model, self._manner.version, str(error) or type(error).__name__)
