"""`python -m benchmarks.steady`, which is `make bench-steady`: whether what a request costs grows.

And what the server takes to start, and while nobody asks anything. Meant for a quiet machine.
"""

import sys

from benchmarks.parts import main
from benchmarks.steady import growth, idle, start
from benchmarks.steady.aims import AIMS

MEASURE = {
    "start": start.measure,
    "idle": idle.measure,
    "clients": growth.clients,
    "models": growth.models,
    "minutes": growth.minutes,
}

if __name__ == "__main__":
    sys.exit(main("steady", "Measure whether what a request costs grows.", MEASURE, AIMS, sys.argv[1:]))
