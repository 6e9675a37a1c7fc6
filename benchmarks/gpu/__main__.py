"""`python -m benchmarks.gpu`, which is `make bench-gpu`: what of a CUDA device reaches the clients.

Without a device it says so and ends with 2. `--device cpu --quick` measures small networks on the processor:
that shows that all of this works, and nothing of a device.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import parts
from benchmarks.gpu.aims import AIMS, MEASURED
from benchmarks.gpu.served import part
from runtimes.device import cuda_devices

NO_DEVICE = (
    "there is no CUDA device here that the installed onnxruntime and torch can use; "
    "--device cpu --quick tries the same on the processor"
)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    asked, rest = parser.parse_known_args(words)
    on_gpu = asked.device == "cuda"
    if on_gpu and not (cuda_devices("onnxruntime_onnx") and cuda_devices("pytorch_libtorch")):
        print(NO_DEVICE, file=sys.stderr)
        return 2
    measures = {f"{name}-{dtype}": part(name, dtype, asked.device) for name, dtype in MEASURED}
    what = "Measure what of a CUDA device reaches the clients (--device cuda, or cpu to try it)."
    return parts.main("gpu" if on_gpu else "gpu-on-cpu", what, measures, AIMS, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
