"""`python -m benchmarks.scheduling.rehearse`: a trace in real time against a server on this machine.

Asks with zeros of the shapes that the server tells. Prints what became of each model's requests, as JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from benchmarks.call import HOST
from benchmarks.models import Tensors
from benchmarks.scheduling.replay import ServedModel, replay
from benchmarks.scheduling.traces import Trace, bursts, diurnal, for_seconds, zipf
from benchmarks.server_under_test import Batches


class RunningServer:
    """Somebody else's: only what its models do is asked."""

    def __init__(self, http_port: int) -> None:
        self.http_port = http_port
        self._client = tritonclient.http.InferenceServerClient(f"{HOST}:{http_port}")

    def batches(self, model: str) -> Batches:
        stats = self._client.get_inference_statistics(model)["model_stats"][0]
        return Batches(rows=stats["inference_count"], runs=stats["execution_count"])

    def cpu_s(self) -> float:
        """Not known of a process that we did not start."""
        return 0.0

    def row(self, model: str) -> Tensors:
        """Zeros, empty where they are strings; a variable size is 1."""
        return {
            tensor["name"]: _zeros(tensor["datatype"], [max(1, int(size)) for size in tensor["shape"]])
            for tensor in self._client.get_model_metadata(model)["inputs"]
        }


def main(words: Sequence[str]) -> int:
    asked = _parser().parse_args(words)
    server = RunningServer(asked.http_port)
    try:
        models = [
            ServedModel(name=name, target_s=asked.target_ms / 1e3, row=server.row(name))
            for name in asked.models
        ]
        outcome = replay(for_seconds(_trace(asked), asked.seconds), models, server)
    except (OSError, InferenceServerException) as fault:
        print(f"the server on port {asked.http_port} does not answer for {', '.join(asked.models)}: {fault}")
        return 1
    print(json.dumps({name: asdict(told) for name, told in outcome.models.items()}, indent=1))
    return 0


def _trace(asked: argparse.Namespace) -> Trace:
    first, rate, rows, seed = asked.models[0], asked.rate, asked.rows, asked.seed
    match asked.trace:
        case "bursts":
            quiet, burst = rate / 2, rate * 3
            return bursts(first, quiet=quiet, burst=burst, quiet_s=4, burst_s=1, rows=rows, seed=seed)
        case "diurnal":
            return diurnal(first, rate, swing=0.8, day_s=asked.seconds, rows=rows, seed=seed)
        case _:
            return zipf(asked.models, rate, rows=rows, seed=seed)


def _zeros(datatype: str, shape: Sequence[int]) -> np.ndarray:
    if datatype == "BYTES":
        return np.full(shape, b"", object)
    return np.zeros(shape, triton_to_np_dtype(datatype))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling.rehearse",
        description="Send a seeded trace to a running server, each request at its moment.",
    )
    option = parser.add_argument
    option("models", nargs="+", metavar="MODEL", help="to ask; the first most often")
    option(
        "--trace",
        choices=("poisson", "bursts", "diurnal"),
        default="poisson",
        help="poisson asks all models, by Zipf; bursts and diurnal ask the first",
    )
    option(
        "--rate", type=float, default=100.0, metavar="N", help="requests a second in the mean, default 100"
    )
    option("--seconds", type=float, default=10.0, metavar="N", help="default 10; a diurnal trace's whole day")
    option("--rows", type=int, default=1, metavar="N", help="of each request, default 1")
    option(
        "--target-ms", type=float, default=100.0, metavar="N", help="an answer counts as in time, default 100"
    )
    option("--seed", type=int, default=0, metavar="N")
    option("--http-port", type=int, default=8000, metavar="PORT", help="of the server, default 8000")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
