"""Turns what the digits network says into the digit and how sure it is."""

import numpy as np

OUTPUTS = [
    {"name": "digit", "datatype": "INT64", "shape": [-1, 1]},
    {"name": "probability", "datatype": "FP32", "shape": [-1, 1]},
]


def postprocess(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """From OUTPUT__0, logits of shape (rows, 10), to one digit and its probability (softmax) a row."""
    logits = outputs["OUTPUT__0"]
    likeness = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = likeness.max(axis=1, keepdims=True) / likeness.sum(axis=1, keepdims=True)
    return {"digit": logits.argmax(axis=1, keepdims=True), "probability": probability.astype(np.float32)}
