"""What kserve's client sends, from a process of its own: it cannot share one with tritonclient.

Writes, as JSON, one request for each datatype over each protocol.
"""

import json

import numpy as np

SAMPLES = {
    "BOOL": [[True, False]],
    "UINT8": [[0, 255]],
    "UINT16": [[0, 65535]],
    "UINT32": [[0, 2**32 - 1]],
    "UINT64": [[0, 2**64 - 1]],
    "INT8": [[-128, 127]],
    "INT16": [[-(2**15), 2**15 - 1]],
    "INT32": [[-(2**31), 2**31 - 1]],
    "INT64": [[-(2**63), 2**63 - 1]],
    "FP16": [[0.5, -2.0]],
    "FP32": [[0.1, -1e30]],
    "FP64": [[0.1, 1e300]],
    "BYTES": [["one", "zwei"]],
}
DTYPES = {"BOOL": "?", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O"}


def sample(datatype: str) -> np.ndarray:
    dtype = DTYPES.get(datatype) or datatype.lower()
    return np.array(SAMPLES[datatype], dtype=dtype)


def main() -> None:
    from kserve.protocol.infer_type import InferInput, InferRequest  # not where a test imports `sample`

    sent = {}
    for datatype in SAMPLES:
        for binary in (True,) if datatype == "FP16" else (True, False):
            tensor = InferInput("X", [1, 2], datatype)
            tensor.set_data_from_numpy(sample(datatype), binary_data=binary)
            request = InferRequest("tiny", [tensor], request_id="7")
            body, length = request.to_rest()
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent[f"{datatype} {'binary' if binary else 'plain'}"] = {
                "rest": raw.hex(),
                "length": length,
                "grpc": request.to_grpc().SerializeToString().hex(),
            }
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
