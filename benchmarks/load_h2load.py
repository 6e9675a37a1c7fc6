"""Load over gRPC by h2load: HTTP/2, one thread, one stream at a time on each connection.

h2load knows nothing of gRPC, where a failed call has status 200 and says so in a trailer. But it counts the
bytes of all replies, and a failed call has no message: so calls whose message is missing are found by size.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.call import Call
from benchmarks.sample import LoadFailed, Sample, percentile

DEADLINE_S = 60

FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
REQUESTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
DATA = re.compile(r"\((\d+)\) data$", re.MULTILINE)


def run(call: Call, *, clients: int, seconds: int, reply_bytes: int) -> Sample:
    with tempfile.TemporaryDirectory() as scratch:
        body, log = Path(scratch, "body"), Path(scratch, "log")
        body.write_bytes(call.body)
        command = ["h2load", "-t1", "-m1", f"-c{clients}", f"-D{seconds}", f"-d{body}", f"--log-file={log}"]
        command += [f"-H{name}: {value}" for name, value in call.headers.items()]
        printed = subprocess.run(
            [*command, call.url], capture_output=True, text=True, timeout=seconds + DEADLINE_S
        )
        if printed.returncode:
            raise LoadFailed(f"h2load: {(printed.stderr or printed.stdout).strip()}")
        return parse(printed.stdout, latencies_us(log), reply_bytes=reply_bytes)


def latencies_us(log: Path) -> list[float]:
    """The third column of h2load's log: microseconds until the end of the reply, in ascending order."""
    if not log.stat().st_size:
        return []
    column: list[float] = np.loadtxt(log, dtype=np.int64, usecols=2, ndmin=1).tolist()
    return sorted(column)


def parse(printed: str, ascending_us: list[float], *, reply_bytes: int) -> Sample:
    """`reply_bytes` is what the body of a right answer has, prefix included.

    A request that h2load calls failed counts among its errored ones too.
    """
    finished, requests, data = FINISHED.search(printed), REQUESTS.search(printed), DATA.search(printed)
    if not (finished and requests and data):
        raise LoadFailed(f"h2load printed no summary: {printed[-500:]}")
    succeeded, failed, _errored, _timeout = map(int, requests.groups())
    without_message = max(0, succeeded - int(data[1]) // reply_bytes)
    return Sample(
        generator="h2load",
        seconds=float(finished[1]) * UNIT_S[finished[2]],
        requests=succeeded - without_message,
        errors=failed + without_message,
        p50_ms=percentile(ascending_us, 0.50) / 1e3,
        p99_ms=percentile(ascending_us, 0.99) / 1e3,
    )
