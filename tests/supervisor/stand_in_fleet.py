"""The whole supervisor over stand-ins: python -m tests.supervisor.stand_in_fleet PORT, with FOLDER set."""

import sys
from pathlib import Path

from server.observe.logs import LogSettings
from server.supervisor.command import UpSettings, run
from server.supervisor.plan import Ports, Role

if __name__ == "__main__":
    settings = UpSettings(
        count={Role.ALL: 2},
        repositories=["models"],
        options={},
        processors=1,
        front=Ports("127.0.0.1", 0, 0),
        view=("127.0.0.1", int(sys.argv[1])),
        leave_s=5.0,
        replace_s=5.0,
        scrape_s=2.0,
        surge=True,
        log=LogSettings(verbose=0, info=True, warning=True, error=True, format="json"),
    )
    sys.exit(run(settings, program=[sys.executable, "-S", str(Path(__file__).with_name("stand_in.py"))]))
