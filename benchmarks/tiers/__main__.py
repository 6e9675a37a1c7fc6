"""`python -m benchmarks.tiers`, which is `make bench-tiers`: what tiers cost beside one process, and gain.

Meant for a quiet machine.
"""

import sys

from benchmarks.parts import main
from benchmarks.tiers import copies, hop, pipeline
from benchmarks.tiers.aims import AIMS

MEASURE = {"hop": hop.measure, "pipeline": pipeline.measure, "copies": copies.measure}

if __name__ == "__main__":
    sys.exit(main("tiers", "Measure what tiers cost and gain.", MEASURE, AIMS, sys.argv[1:]))
