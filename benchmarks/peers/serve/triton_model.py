"""The model in Triton's Python backend: one run for all requests of a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as backend

from benchmarks.peers.serve.session import INPUT, OUTPUT, Session, task


class TritonPythonModel:
    def initialize(self, _args: Any) -> None:
        self.session = Session(task())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        rows = [backend.get_input_tensor_by_name(request, INPUT).as_numpy() for request in requests]
        answers = self.session.run(np.concatenate(rows) if len(rows) > 1 else rows[0])
        responses, at = [], 0
        for each in rows:
            tensor = backend.Tensor(OUTPUT, answers[at : at + len(each)])
            responses.append(backend.InferenceResponse([tensor]))
            at += len(each)
        return responses
