"""Prints the figures of docs/decisions/io-binding.md: python -m tests.runtimes.binding_figures

All ways take turns, and the least processor time of each counts: what disturbs the machine makes runs longer,
never shorter. Page faults are those of the last turn.
"""

import resource
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from onnxruntime import OrtValue

from benchmarks import networks

TURNS = 15
FLOAT = np.float32

CASES = (
    (networks.tiny, (64,), (10,), 1, 2000),
    (networks.tiny, (64,), (10,), 32, 1000),
    (networks.wide, (networks.WIDE_FLOATS,), (networks.WIDE_FLOATS,), 1, 200),
    (networks.wide, (networks.WIDE_FLOATS,), (networks.WIDE_FLOATS,), 8, 25),
    (networks.cnn, (3, 64, 64), (100,), 8, 4),
)


def ways(
    session: onnxruntime.InferenceSession, requests: list[np.ndarray], writes: tuple[int, ...]
) -> dict[str, Callable[[], object]]:
    batch = np.concatenate(requests)
    shape = (len(batch), *writes)
    stacked, kept = np.empty_like(batch), np.empty(shape, FLOAT)
    once, anew = session.io_binding(), session.io_binding()
    once.bind_cpu_input("INPUT", batch)
    once.bind_output("OUTPUT", "cpu", 0, FLOAT, shape, kept.ctypes.data)

    def bound_once() -> object:
        session.run_with_iobinding(once)
        return kept  # a binding knows an address, and keeps no array

    def bound_anew() -> object:
        output = np.empty(shape, FLOAT)
        anew.bind_cpu_input("INPUT", batch)
        anew.bind_output("OUTPUT", "cpu", 0, FLOAT, shape, output.__array_interface__["data"][0])
        session.run_with_iobinding(anew)
        return output

    def values() -> object:
        return session.run_with_ort_values(["OUTPUT"], {"INPUT": OrtValue.ortvalue_from_numpy(batch)})[
            0
        ].numpy()

    def run(inputs: np.ndarray) -> object:
        return session.run(["OUTPUT"], {"INPUT": inputs})

    return {
        "run": lambda: run(batch),
        "kept": bound_once,
        "bound anew": bound_anew,
        "values": values,
        "stacked and run": lambda: run(np.concatenate(requests)),
        "stacked into a kept buffer": lambda: run(np.concatenate(requests, out=stacked)),
    }


def new_pages() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for network, reads, writes, rows, times in CASES:
        session = onnxruntime.InferenceSession(
            network().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        random = np.random.default_rng(0)
        every = ways(session, [random.standard_normal((1, *reads), FLOAT) for _ in range(rows)], writes)
        least, pages = dict.fromkeys(every, float("inf")), dict.fromkeys(every, 0.0)
        for _ in range(TURNS):
            for name, way in every.items():
                before, began = new_pages(), time.thread_time_ns()
                for _ in range(times):
                    way()
                least[name] = min(least[name], (time.thread_time_ns() - began) / times / 1000)
                pages[name] = (new_pages() - before) / times
        told = ", ".join(f"{name} {least[name]:,.1f} us ({pages[name]:.0f} pages)" for name in every)
        print(f"{network.__name__}, {rows} rows: {told}", flush=True)


if __name__ == "__main__":
    main()
