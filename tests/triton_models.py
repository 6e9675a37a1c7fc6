"""Models in Triton's Python backend, as small as can be."""

from pathlib import Path

_MODEL = """\
import json
import time

import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        try:
            return triton.InferenceResponse([triton.Tensor(*each) for each in run(request)])
        except ValueError as error:
            refusal = triton.TritonError(str(error), triton.TritonError.INVALID_ARG)
            return triton.InferenceResponse(error=refusal)


def given(request, name):
    return triton.get_input_tensor_by_name(request, name).as_numpy()


def run(request):
"""

_RUNS = {
    "double": """
    x = given(request, "x")
    if (x < 0).any():
        raise ValueError("x must not be below 0")
    if np.isnan(x).any():
        raise RuntimeError("x is no number")
    time.sleep(x.max() / 1000 if x.max() > 100 else 0)
    yield "y", x * 2
    yield "rows", np.full((len(x), 1), len(x), np.int32)
""",
    "shout": """
    words = given(request, "words")
    loud = [word.decode().upper().encode() for word in words.reshape(-1)]
    yield "loud", np.array(loud, object).reshape(words.shape)
    yield "parameters", np.array([request.parameters().encode()], object)
""",
}

_CONFIGS = {
    "double": """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 4 }
output { name: "rows" data_type: TYPE_INT32 dims: 1 }
""",
    "shout": """
backend: "python"
input { name: "words" data_type: TYPE_STRING dims: -1 }
output { name: "loud" data_type: TYPE_STRING dims: -1 }
output { name: "parameters" data_type: TYPE_STRING dims: 1 }
""",
}


def lay_triton_models(repository: Path) -> None:
    """`double` batches: y = 2 x, and in how many rows it came; x above 100 takes so many milliseconds.

    `shout` does not batch: strings, and the request's parameters as JSON.
    """
    for name, run in _RUNS.items():
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(_MODEL + run)
        (folder.parent / "config.pbtxt").write_text(_CONFIGS[name])
