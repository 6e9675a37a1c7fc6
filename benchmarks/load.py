"""A closed loop of callers against one door: each sends its next request when its last is answered.

wrk speaks to the HTTP doors and h2load to gRPC, where they are installed: they cost little beside the server
that shares the machine with them. Elsewhere a generator in Python takes their place, and may be the limit
itself; every sample names its generator.
"""

import shutil

from benchmarks import load_h2load, load_python, load_wrk
from benchmarks.call import Call, Door
from benchmarks.sample import Sample


def load(call: Call, *, clients: int, seconds: int, reply_bytes: int) -> Sample:
    """Send `call` from so many connections at once. `reply_bytes` is the body of a right answer over gRPC.

    Raises `LoadFailed`.
    """
    if call.door is Door.GRPC and shutil.which("h2load"):
        return load_h2load.run(call, clients=clients, seconds=seconds, reply_bytes=reply_bytes)
    if call.door is not Door.GRPC and shutil.which("wrk"):
        return load_wrk.run(call, clients=clients, seconds=seconds)
    return load_python.run(call, clients=clients, seconds=seconds)
