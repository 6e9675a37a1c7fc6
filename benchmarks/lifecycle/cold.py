"""What a request costs whose model is not in memory, and what its load costs the other models' requests.

A model of more than 100 MB, whose verdict is known, is let go again and again (`--idle-unload-secs`) and
asked again: once the server has prepared it, and, by another server, as its file is. Against both stands the
runtime alone, in a process of its own that takes turns with the server: the file opened, and one run. Its
allocator keeps what the session before has freed, so that it need not be had from the system again; a server
gives that back. A small model is asked in turn all the while.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.call import HOST
from benchmarks.promises import Promise
from benchmarks.sample import percentile
from benchmarks.server_under_test import NotTold, ServerUnderTest, tercet

WIDTH, LAYERS = 1024, 26
"""Of the large model: 104 MiB of weights."""

IDLE_S = 0.25
GONE_WITHIN_S = 10.0
PREPARED_WITHIN_S = 120.0

BARE = """
import sys, time
import numpy as np, onnxruntime
file, width, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
x = np.zeros((1, width), np.float32)
for _ in sys.stdin:
    began = time.perf_counter()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": x})
    took = time.perf_counter() - began
    del session
    print(took, flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdFigures:
    """
    cold_s      seconds of each cold request, from sending it to the end of its answer
    bare_s      of opening the file and one run without a server
    from_file_s, from_file_bare_s   the same, where the server has prepared nothing
    quiet_p99_ms    of the small model's requests while nothing was loaded, by the server or beside it
    loading_p99_ms  of those that were under way while the large one was
    """

    model_bytes: int
    cold_s: list[float]
    bare_s: list[float]
    from_file_s: list[float]
    from_file_bare_s: list[float]
    quiet_p99_ms: float
    loading_p99_ms: float
    quiet_requests: int
    loading_requests: int


PROMISES: tuple[Promise[ColdFigures], ...] = (
    Promise(
        name="cold request of a 100 MB model over the bare session",
        figure=lambda f: median(f.cold_s) / median(f.bare_s),
        form=".2f",
        at_most=1.15,
    ),
    Promise(
        name="p99 of another model while it loads, over its usual",
        figure=lambda f: f.loading_p99_ms / f.quiet_p99_ms,
        form=".2f",
        at_most=1.5,
    ),
)


def measure_cold(rounds: int) -> ColdFigures:
    """Raises `ServerFailed` or `NotTold`."""
    with tempfile.TemporaryDirectory(prefix="tercet-bench-") as scratch:
        repository = Path(scratch) / "repository"
        large = _lay(repository, "large", WIDTH, LAYERS)
        _lay(repository, "small", 64, 2)
        options = [
            "--load-on-request=true",
            f"--idle-unload-secs={IDLE_S}",
            "--pinned-model=small",
            "--cpu-threads=1",
        ]
        with _bare(large) as bare:
            unprepared = [*options, f"--state-dir={Path(scratch) / 'bare'}", "--prepared-models-bytes=0"]
            with tercet(repository, Path(scratch) / "bare.log", unprepared) as server:
                from_file = _turns(server, bare, rounds // 2 + 1)
            log = Path(scratch) / "log"
            with tercet(repository, log, [*options, f"--state-dir={Path(scratch) / 'state'}"]) as server:
                return _measure(server, bare, log, large.stat().st_size, rounds, from_file)


def lines(figures: ColdFigures) -> Iterator[str]:
    yield (
        f"{figures.model_bytes / 1e6:.0f} MB: cold {1e3 * median(figures.cold_s):.0f} ms, "
        f"bare session and a run {1e3 * median(figures.bare_s):.0f} ms; from its file "
        f"{1e3 * median(figures.from_file_s):.0f} and {1e3 * median(figures.from_file_bare_s):.0f} ms"
    )
    yield (
        f"another model: p99 {figures.quiet_p99_ms:.2f} ms, while that loads {figures.loading_p99_ms:.2f} ms "
        f"({figures.quiet_requests} and {figures.loading_requests} requests)"
    )


@dataclass(frozen=True, slots=True)
class _Turns:
    """Seconds of each cold request and of each bare session, and when the server or the other one loaded."""

    cold_s: list[float]
    bare_s: list[float]
    loads: list[tuple[float, float]]
    loads_beside: list[tuple[float, float]]


def _measure(
    server: ServerUnderTest,
    bare: "subprocess.Popen[str]",
    log: Path,
    model_bytes: int,
    rounds: int,
    from_file: _Turns,
) -> ColdFigures:
    _await_prepared(log)  # nobody has asked for it
    with _visitor(server.http_port) as visits:
        turns = _turns(server, bare, rounds)
    busy = [ended - began for began, ended in visits if _overlaps(began, ended, turns.loads)]
    noisy = [*turns.loads, *turns.loads_beside]
    quiet = [ended - began for began, ended in visits if not _overlaps(began, ended, noisy)]
    return ColdFigures(
        model_bytes=model_bytes,
        cold_s=turns.cold_s,
        bare_s=turns.bare_s,
        from_file_s=from_file.cold_s,
        from_file_bare_s=from_file.bare_s,
        quiet_p99_ms=1e3 * percentile(sorted(quiet), 0.99),
        loading_p99_ms=1e3 * percentile(sorted(busy), 0.99),
        quiet_requests=len(quiet),
        loading_requests=len(busy),
    )


def _turns(server: ServerUnderTest, bare: "subprocess.Popen[str]", rounds: int) -> _Turns:
    """So many, and one before, which reads the disk."""
    turns = _Turns([], [], [], [])
    with closing(_connect(server.http_port)) as connection:
        for at in range(rounds + 1):
            _await_gone(connection)
            began_beside = time.monotonic()
            alone = _turn(bare)
            began = time.monotonic()
            turns.loads_beside.append((began_beside, began))
            _ask(connection, "large", WIDTH)
            ended = time.monotonic()
            turns.loads.append((began, ended))
            if at:
                turns.cold_s.append(ended - began)
                turns.bare_s.append(alone)
    return turns


def _overlaps(began: float, ended: float, loads: Sequence[tuple[float, float]]) -> bool:
    return any(began < load_ended and load_began < ended for load_began, load_ended in loads)


class _visitor:  # noqa: N801  (a context manager, read as a verb)
    """Asks the small model every few milliseconds while it is entered; gives when each began and ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._visits: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> list[tuple[float, float]]:
        self._thread.start()
        return self._visits

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _visit(self) -> None:
        _come_first()
        with closing(_connect(self._port)) as connection:
            while not self._over.wait(0.005):
                began = time.monotonic()
                _ask(connection, "small", 64)
                self._visits.append((began, time.monotonic()))


def _come_first() -> None:
    """Have this thread be given a processor as soon as it is answered, where that is allowed.

    What the asker itself waits for one is none of the server's time.
    """
    with suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, port, timeout=60)


def _ask(connection: http.client.HTTPConnection, model: str, width: int) -> None:
    tensor = {
        "name": "x",
        "shape": [1, width],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * width},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    connection.request(
        "POST",
        f"/v2/models/{model}/infer",
        head + bytes(4 * width),
        {"Inference-Header-Content-Length": str(len(head))},
    )
    response = connection.getresponse()
    said = response.read()
    if response.status != 200:
        raise NotTold(f"{model} answered {response.status}: {said[:200]!r}")


def _await_gone(connection: http.client.HTTPConnection) -> None:
    """Wait until the large model has left memory."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < deadline:
        connection.request("POST", "/v2/repository/index", b"{}")
        lines = json.loads(connection.getresponse().read())
        if any(line["name"] == "large" and line.get("loaded") is False for line in lines):
            time.sleep(0.05)  # and its memory is given back
            return
        time.sleep(0.02)
    raise NotTold(f"the large model did not leave memory within {GONE_WITHIN_S:g} s")


def _await_prepared(log: Path) -> None:
    deadline = time.monotonic() + PREPARED_WITHIN_S
    while "model_prepared" not in log.read_text(errors="replace"):
        if time.monotonic() > deadline:
            raise NotTold(f"the large model was not prepared within {PREPARED_WITHIN_S:g} s")
        time.sleep(0.1)


def _bare(model: Path) -> "subprocess.Popen[str]":
    """Opens the file and runs it once for each line that it is sent."""
    command = [sys.executable, "-c", BARE, str(model), str(WIDTH), "1"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _turn(bare: "subprocess.Popen[str]") -> float:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write("\n")
    bare.stdin.flush()
    return float(bare.stdout.readline())


def _lay(repository: Path, name: str, width: int, layers: int) -> Path:
    """A chain of matrices; its file."""
    chance = np.random.default_rng(width)
    weights = [
        numpy_helper.from_array(chance.standard_normal((width, width), np.float32), f"w{at}")
        for at in range(layers)
    ]
    names = ["x", *(f"t{at}" for at in range(1, layers)), "y"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[at], f"w{at}"], [names[at + 1]]) for at in range(layers)],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file
