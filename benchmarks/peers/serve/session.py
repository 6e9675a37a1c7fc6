"""The model as every peer runs it: ONNX Runtime on one thread, with a count of rows and runs.

Imported in the peers' environments, so it needs nothing but NumPy and ONNX Runtime.
"""

import json
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

VARIABLE = "TERCET_BENCHMARK_TASK"
INPUT, OUTPUT = "INPUT", "OUTPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    file             the ONNX file
    counts           a file of two 64-bit integers: the rows run so far, and the runs
    rank             of the input, rows included
    max_batch_size   at least 1
    scratch          a folder of the server's own
    """

    model: str
    file: str
    counts: str
    scratch: str
    rank: int
    max_batch_size: int
    http_port: int
    grpc_port: int


def task() -> Task:
    """What this process is to serve."""
    return Task(**json.loads(os.environ[VARIABLE]))


class Session:
    def __init__(self, task: Task) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(task.file, options, providers=["CPUExecutionProvider"])
        with open(task.counts, "r+b") as file:
            self._counts = np.frombuffer(mmap.mmap(file.fileno(), 0), np.int64)

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs: list[Any] = self._session.run(None, {INPUT: rows})
        self._counts[0] += len(rows)
        self._counts[1] += 1
        answer: NDArray[np.float32] = outputs[0]
        return answer
