"""Which steps of an ensemble can begin, by which of its tensors are there.

Pure: no clock, lock or event loop. `server.stages.ensemble` brings the tensors and runs the steps.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from server.domain.ensemble import Step


def needed(steps: Sequence[Step], wanted: Iterable[str]) -> list[int]:
    """The steps, by their places, that the wanted tensors come from in the end; in the order configured."""
    source = {tensor: at for at, step in enumerate(steps) for tensor in step.outputs.values()}
    found: set[int] = set()
    waiting = [source[tensor] for tensor in wanted]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting.extend(source[tensor] for tensor in steps[at].inputs.values() if tensor in source)
    return sorted(found)


class Flow:
    """The way of one request through the steps of an ensemble that it needs.

    steps   those, by their places in the configuration
    """

    def __init__(self, steps: Sequence[Step], wanted: Collection[str]) -> None:
        self.steps = needed(steps, wanted)
        self._reads = {at: frozenset(steps[at].inputs.values()) for at in self.steps}
        self._missing = {at: set(reads) for at, reads in self._reads.items()}
        self._readers = Counter(wanted)
        for reads in self._reads.values():
            self._readers.update(reads)

    def arrive(self, tensors: Collection[str]) -> list[int]:
        """These tensors are there now, or have been left out for good: the steps that can begin by that.

        Each step is told once, when the last of its inputs arrives.
        """
        ready = []
        for at, missing in self._missing.items():
            missing.difference_update(tensors)
            if not missing:
                ready.append(at)
        for at in ready:
            del self._missing[at]
        return ready

    def take(self, at: int) -> list[str]:
        """A step has taken its inputs, once: those of them that nobody needs after it."""
        self._readers.subtract(self._reads[at])
        return [tensor for tensor in self._reads[at] if not self._readers[tensor]]

    def needs(self, tensor: str) -> bool:
        """Whether the caller wants a tensor, or a step is still to take it."""
        return self._readers[tensor] > 0
