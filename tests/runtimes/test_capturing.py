"""One who wants to be alone on the devices, and many who do not."""

import threading

import pytest

from runtimes.capturing import Gate
from runtimes.errors import RunFailed


def test_runs_go_beside_each_other_and_a_capture_goes_alone():
    gate, log = Gate(), []
    inside, go = threading.Event(), threading.Event()

    def run() -> None:
        with gate.together(), gate.together():
            inside.set()
            go.wait(10)
            log.append("run")

    def capture() -> None:
        with gate.alone():
            log.append("capture")

    runner, capturer = threading.Thread(target=run), threading.Thread(target=capture)
    runner.start()
    assert inside.wait(10)
    capturer.start()
    capturer.join(0.05)
    assert log == []
    go.set()
    for thread in (runner, capturer):
        thread.join(10)
    assert log == ["run", "capture"]
    with gate.together():
        log.append("after")


def test_nobody_waits_for_ever():
    gate = Gate(patience_s=0.02)
    with gate.together(), pytest.raises(RunFailed, match="did not end"), gate.alone():
        pass
    with gate.alone():
        with pytest.raises(RunFailed, match="being captured"), gate.together():
            pass
        with pytest.raises(RunFailed, match="another CUDA graph"), gate.alone():
            pass
    with gate.together():
        pass
