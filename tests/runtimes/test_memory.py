"""What is freed is at hand for the next request: else each large tensor is made of new, zeroed pages."""

import os
import subprocess
import sys

import pytest

from runtimes.memory import OPERATORS_OWN

FAULTS = """
import resource, sys
from runtimes.memory import keep_freed

kept = keep_freed() if sys.argv[1] == "kept" else None

def requests(count):
    for _ in range(count):
        body = b"x" * 2**20
        answer = bytes(bytearray(2**20))
        del body, answer

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

requests(5)
before = faults()
requests(50)
print(kept, (faults() - before) // 50)
"""


def said(how: str, **own: str) -> tuple[str, int]:
    left = {name: value for name, value in os.environ.items() if name not in OPERATORS_OWN}
    asked = subprocess.run(
        [sys.executable, "-c", FAULTS, how], env=left | own, capture_output=True, text=True, check=True
    )
    kept, faults = asked.stdout.split()
    return kept, int(faults)


def test_requests_of_a_mib_touch_no_new_pages():
    assert said("as it comes")[1] > 100
    assert said("kept") == ("True", 0)


@pytest.mark.parametrize("name", OPERATORS_OWN)
def test_an_operators_own_settings_of_the_allocator_stand(name):
    kept, _ = said("kept", **{name: "glibc.malloc.perturb=0" if name == "GLIBC_TUNABLES" else "131072"})
    assert kept == "False"
