"""From samples to the steps of a request: which code belongs to which step, and what each of them takes.

Pure. A sample of the interpreter is a stack, outermost frame first, each frame as py-spy writes it:
`name (file:line)`. A sample of the processor is the object (program, library or kernel) that it was in.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STEPS = (
    "socket",
    "parse",
    "validate",
    "schedule",
    "run",
    "answer",
    "metrics",
    "access line",
    "gRPC front",
    "event loop",
    "other",
)
FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
OBJECTS = {"[kernel": "socket", "onnxruntime": "run"}
"""By how their names begin."""


@dataclass(frozen=True, slots=True)
class Place:
    """Code of one step: a file, or all below a folder, which ends in a slash; with a name, one function."""

    path: str
    step: str
    name: str = ""

    def has(self, file: str, name: str) -> bool:
        at = f"/{file}".rfind(f"/{self.path}")
        if at < 0 or not (self.path.endswith("/") or file.endswith(self.path)):
            return False
        return not self.name or name.rpartition(".")[2] == self.name


PLACES = (
    Place("server/observe/access.py", "access line"),
    Place("server/api/infer_door.py", "access line", "note"),
    Place("server/api/grpc_front.py", "access line", "line"),
    Place("server/observe/", "metrics"),
    Place("server/scheduling/counting.py", "metrics"),
    Place("server/api/short_way.py", "socket", "reply"),
    Place("server/api/grpc_front.py", "gRPC front", "answered"),
    Place("server/api/grpc_front.py", "gRPC front", "begin"),
    Place("server/http2/", "gRPC front"),
    Place("server/api/grpc_front.py", "answer", "_told"),
    Place("server/api/grpc_front.py", "answer", "_answer"),
    Place("server/api/grpc_front.py", "answer", "end"),
    Place("server/api/grpc_front.py", "parse"),
    Place("server/api/infer_door.py", "answer", "write"),
    Place("server/api/exchange.py", "parse", "start"),
    Place("server/api/exchange.py", "parse", "open"),
    Place("server/api/exchange.py", "answer"),
    Place("server/api/short_way.py", "answer", "answered"),
    Place("server/api/", "parse"),
    Place("server/wire/infer_http.py", "parse", "decode"),
    Place("server/wire/infer_http.py", "answer"),
    Place("server/wire/infer_proto.py", "answer", "encode"),
    Place("server/wire/infer_proto.py", "answer", "_head"),
    Place("server/wire/", "parse"),
    Place("server/stages/route.py", "answer", "respond"),
    Place("server/stages/", "validate"),
    Place("server/domain/", "validate"),
    Place("server/lifecycle/", "validate"),
    Place("server/scheduling/stack.py", "run"),
    Place("server/scheduling/run.py", "run"),
    Place("runtimes/", "run"),
    Place("onnxruntime/", "run"),
    Place("server/scheduling/", "schedule"),
    Place("asyncio/", "event loop"),
)
"""The first that has a frame decides; the frames of a stack are tried from the innermost outward."""


def step_of(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        read = FRAME.match(frame)
        if read:
            for place in PLACES:
                if place.has(read["file"], read["name"]):
                    return place.step
    return "other"


def stacks(raw: str) -> Counter[tuple[str, ...]]:
    """What `py-spy record --format raw` writes: a stack a line, its frames by semicolon, and its samples."""
    counted: Counter[tuple[str, ...]] = Counter()
    for line in raw.splitlines():
        frames, _, samples = line.rpartition(" ")
        counted[tuple(frames.split(";"))] += int(samples)
    return counted


def innermost(counted: Counter[tuple[str, ...]], most: int) -> Mapping[str, float]:
    """The frames that most samples end in, as shares."""
    leaves: Counter[str] = Counter()
    for stack, samples in counted.items():
        leaves[stack[-1]] += samples
    return {frame: samples / counted.total() for frame, samples in leaves.most_common(most)}


def holding(counted: Counter[tuple[str, ...]]) -> Mapping[str, float]:
    """Who holds the interpreter: a share for each step."""
    steps: Counter[str] = Counter()
    for stack, samples in counted.items():
        steps[step_of(stack)] += samples
    return {step: steps[step] / steps.total() for step in STEPS if steps[step]}


def objects(report: str) -> Mapping[str, float]:
    """What `perf report --sort dso` writes: percent and object a line, as shares by object."""
    found = re.findall(r"^\s*([\d.]+)%\s+(\S+)", report, re.MULTILINE)
    return {name: float(percent) / 100 for percent, name in found}


def spent(held: Mapping[str, float], found: Mapping[str, float]) -> Mapping[str, float]:
    """Of all processor time of the server, the share of each step.

    The kernel's time is the sockets', that of ONNX Runtime the run's. What is left holds the interpreter, or
    nearly so: it is shared out as `held` says, without the step whose samples stand in the kernel. Without
    objects it is `held` itself.
    """
    if not found:
        return dict(held)
    shares = dict.fromkeys(STEPS, 0.0)
    for name, share in found.items():
        for beginning, step in OBJECTS.items():
            if name.startswith(beginning):
                shares[step] += share
    left = max(0.0, sum(found.values()) - sum(shares.values()))
    told = {step: share for step, share in held.items() if step != "socket"}
    whole = sum(told.values()) or 1.0
    for step, share in told.items():
        shares[step] += left * share / whole
    total = sum(shares.values())
    return {step: share / total for step, share in shares.items() if share}
