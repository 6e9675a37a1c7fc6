"""Stands in for a server: takes its command line, answers health and metrics, does the harm that it is told.

The environment names FOLDER. Its file `events` is where it writes what happens to it. A file there that is
named like its role has words of harm: `refuse`, `crash`, `deaf` (to SIGTERM), `unready`, `slow` (to leave).
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(os.environ["FOLDER"])
GIVEN = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
ROLE = GIVEN.get("role", "all")
SLOW_S = 0.3


def harm() -> str:
    try:
        return (FOLDER / ROLE).read_text()
    except OSError:
        return ""


def tell(event: str) -> None:
    line = json.dumps({"event": event, "role": ROLE, "pid": os.getpid(), "given": GIVEN}) + "\n"
    with (FOLDER / "events").open("a") as file:
        file.write(line)


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if "unready" in harm() and self.path.endswith("ready") else 200)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(b'# HELP asked By whom\n# TYPE asked counter\nasked{by="x"} 3\nbare 1\n')

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    tell("began")
    if "refuse" in harm():
        print("tercet: the stand-in will not", file=sys.stderr)
        sys.exit(2)
    if "crash" in harm():
        os.kill(os.getpid(), signal.SIGKILL)
    server = ThreadingHTTPServer(("127.0.0.1", int(GIVEN["metrics-port"])), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tell("serves")
    print("said to people")
    print('{"event":"said to programs"}', file=sys.stderr, flush=True)
    signal.sigwait({signal.SIGTERM})
    tell("told")
    if "deaf" in harm():
        threading.Event().wait()
    if "slow" in harm():
        time.sleep(SLOW_S)
    tell("left")


if __name__ == "__main__":
    main()
