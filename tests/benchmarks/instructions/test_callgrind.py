"""What callgrind's dumps say."""

import pytest

from benchmarks.instructions.callgrind import total
from benchmarks.server_under_test import ServerFailed

DUMP = """version: 1
creator: callgrind-3.19.0
pid: 12
cmd:  python -m server.cli serve
part: 1
events: Ir
summary: 1234567

fn=(1) main
16 400
totals: 1234567
"""


def test_all_instructions_of_a_dump_are_told():
    assert total(DUMP) == 1_234_567


def test_a_dump_without_a_sum_is_refused():
    with pytest.raises(ServerFailed, match="without a sum"):
        total("version: 1\n")
