"""Load over HTTP by wrk, one thread; the script beside this file makes its request and prints the result."""

import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.call import Call
from benchmarks.sample import LoadFailed, Sample

SCRIPT = Path(__file__).with_name("load_wrk.lua")
TIMEOUT_S = 60  # wrk's own is 2 s, which a large model's queue exceeds


def run(call: Call, *, clients: int, seconds: int) -> Sample:
    with tempfile.TemporaryDirectory() as scratch:
        body = Path(scratch, "body")
        body.write_bytes(call.body)
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s", f"-s{SCRIPT}"]
        command += [call.url, "--", str(body), *(word for header in call.headers.items() for word in header)]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 2 * TIMEOUT_S)
    if printed.returncode:
        raise LoadFailed(f"wrk: {(printed.stderr or printed.stdout).strip()}")
    return parse(printed.stdout)


def parse(printed: str) -> Sample:
    """wrk counts replies of 400 and above among its requests, and counts them again as status errors."""
    seen = json.loads(printed.splitlines()[-1])
    return Sample(
        generator="wrk",
        seconds=seen["seconds"],
        requests=seen["requests"] - seen["status"],
        errors=seen["status"] + seen["broken"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
    )
