"""Models in processes of their own: what ends there ends alone, comes back, and leaves nothing."""

import gc
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import psutil
import pytest

from runtimes.errors import InputRefused, ModelBroken, RunFailed, RuntimeBusy, RuntimeLost
from runtimes.session import ModelFile
from runtimes.tensors import TensorSpec
from runtimes.worker.crashes import CrashRule
from runtimes.worker.home import OWN, Home
from runtimes.worker.lane import HEAD, Lane, LaneLost
from runtimes.worker.life import Life
from runtimes.worker.news import Down, News, Out, Up
from runtimes.worker.worker import WorkerLimits
from runtimes.worker.workers import Workers, WorkerSession
from tests.runtimes.models import onnx_identity, onnx_mlp, sleeping, some_rows
from tests.runtimes.wild import FATAL, GOOD, rows, wild

GROUP = Home(in_worker=True, group="g")
X, Y = TensorSpec("x", "FP32", (-1, 4)), TensorSpec("y", "FP32", (-1, 4))


Open = Callable[[ModelFile, Home, str], WorkerSession]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers(limits=WorkerLimits(crashes=CrashRule(most=2, first_s=0.01)))
    yield made
    made.close()


@pytest.fixture
def opened(workers: Workers) -> Iterator[Open]:
    """Opens a model in a worker, until the test is over."""
    with ExitStack() as sessions:

        def opening(file: ModelFile, home: Home, label: str) -> WorkerSession:
            session = workers.open(file, home, label)
            sessions.callback(session.close)
            return session

        yield opening


@pytest.fixture(scope="module")
def wild_file(tmp_path_factory: pytest.TempPathFactory):
    return wild(tmp_path_factory.mktemp("wild"))


def heard(session: WorkerSession) -> "SimpleQueue[News]":
    news: SimpleQueue[News] = SimpleQueue()
    session.watch(news.put)
    return news


def until(holds: Callable[[], object], within_s: float = 20.0) -> None:
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def kill(session: WorkerSession, number: signal.Signals = signal.SIGKILL) -> psutil.Process:
    until(lambda: session.pid)
    assert session.pid is not None
    process = psutil.Process(session.pid)
    process.send_signal(number)
    return process


def test_a_worker_that_is_killed_comes_back_and_a_run_that_comes_meanwhile_waits_for_it(opened, tmp_path):
    session = opened(onnx_mlp(tmp_path), OWN, "model 'm' version 1")
    news = heard(session)
    kill(session).wait(10)
    assert isinstance(news.get(timeout=10), Down)
    assert session.run({"x": some_rows(3)}, ["y"])["y"].shape == (3, 10)
    assert news.get(timeout=10) == Up()


def test_native_code_that_crashes_fails_its_run_in_words_that_name_model_and_signal(opened, wild_file):
    session = opened(wild_file, OWN, "model 'wild' version 7")
    other = opened(wild_file, OWN, "model 'other' version 1")
    assert session.run(rows(GOOD), ["y"])["y"].tolist() == [[GOOD] * 4]
    with pytest.raises(RuntimeLost, match=r"^model 'wild' version 7 did not finish .* SIGSEGV: .*ask again$"):
        session.run(rows(FATAL), ["y"])
    assert other.run(rows(GOOD), ["y"])["y"].tolist() == [[GOOD] * 4]
    assert session.run(rows(GOOD), ["y"])["y"].tolist() == [[GOOD] * 4]


def test_one_that_crashes_too_often_is_given_up_and_says_why(opened, wild_file):
    session = opened(wild_file, OWN, "model 'wild' version 1")
    news = heard(session)
    for _ in range(2):
        with pytest.raises(RuntimeLost):
            session.run(rows(FATAL), ["y"])
    assert [type(news.get(timeout=10)) for _ in range(3)] == [Down, Up, Out]
    with pytest.raises(RuntimeLost, match=r"SIGSEGV.*with 2 crashes within 300 s it is not started"):
        session.run(rows(GOOD), ["y"])
    late = heard(session)
    assert isinstance(late.get(timeout=1), Out)


def test_a_run_that_hangs_is_ended_with_its_process(tmp_path):
    workers = Workers(limits=WorkerLimits(run_s=0.3))
    times = {"table_ms": {"1": 1, "2": 60_000}}
    session = workers.open(sleeping(tmp_path, [X], [Y], service_time=times), OWN, "model 'm' version 1")
    with pytest.raises(RuntimeLost, match=r"was killed, as it did not answer within 0\.3 s"):
        session.run(rows(1, count=2), ["y"])
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]
    workers.close()


def test_as_many_runs_go_on_at_once_as_there_are_callers(opened, tmp_path):
    file = sleeping(tmp_path, [X], [Y], service_time={"fixed_ms": 200})
    session = opened(file, OWN, "model 'm' version 1")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda at: session.run(rows(at), ["y"])["y"][0, 0], range(8)))
    assert answers == list(range(8))
    assert time.monotonic() - began < 8 * 0.2


def test_models_of_a_group_share_a_process_and_its_end(workers, tmp_path, wild_file):
    one = workers.open(wild_file, GROUP, "model 'wild' version 1")
    two = workers.open(onnx_mlp(tmp_path), GROUP, "model 'm' version 1")
    until(lambda: one.pid)
    assert one.pid == two.pid
    news = heard(two)
    with pytest.raises(RuntimeLost):
        one.run(rows(FATAL), ["y"])
    assert [type(news.get(timeout=10)) for _ in range(2)] == [Down, Up]
    assert two.run({"x": some_rows(1)}, ["y"])["y"].shape == (1, 10)
    one.close()
    assert two.run({"x": some_rows(1)}, ["y"])["y"].shape == (1, 10)


def test_a_file_that_crashes_its_process_while_it_is_opened_is_refused(opened, tmp_path):
    file = wild(tmp_path, inputs=(), outputs=(), samples=rows(FATAL))
    with pytest.raises(ModelBroken, match=r"^model\.pt could not be opened: .*SIGSEGV"):
        opened(file, OWN, "model 'wild' version 1")


def test_a_sample_of_one_request_describes_a_model_there_too(opened, tmp_path):
    file = wild(tmp_path, inputs=(), outputs=(), samples=rows(GOOD))
    session = opened(file, OWN, "model 'wild' version 1")
    assert (session.description.inputs, session.description.batches) == ((X,), True)


def test_a_file_that_has_changed_is_not_taken_for_the_one_that_served(opened, tmp_path):
    file = onnx_mlp(tmp_path)
    session = opened(file, OWN, "model 'm' version 1")
    news = heard(session)
    onnx_identity(tmp_path, "FP32")
    kill(session)
    assert isinstance(news.get(timeout=10), Down)
    told = news.get(timeout=10)
    assert isinstance(told, Out)
    assert "its file has changed" in told.why
    with pytest.raises(RuntimeLost, match="its file has changed"):
        session.run({"x": some_rows(1)}, ["y"])


def test_the_end_of_the_process_that_starts_workers_is_not_held_against_the_models(opened, tmp_path):
    session = opened(onnx_mlp(tmp_path), OWN, "model 'm' version 1")
    news = heard(session)
    for _ in range(3):
        until(lambda: session.pid)
        psutil.Process(session.pid).parent().kill()
        assert isinstance(news.get(timeout=10), Down)
        assert news.get(timeout=20) == Up()
    assert session.run({"x": some_rows(1)}, ["y"])["y"].shape == (1, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_are_meant_for_the_server_end_no_worker(opened, tmp_path, number):
    session = opened(onnx_mlp(tmp_path), OWN, "model 'm' version 1")
    process = kill(session, number)
    process.parent().send_signal(number)
    for _ in range(3):
        assert session.run({"x": some_rows(1)}, ["y"])["y"].shape == (1, 10)
    assert session.pid == process.pid


def test_what_a_model_prints_is_in_the_log(workers, wild_file, capsys):
    session = workers.open(wild_file, OWN, "model 'wild' version 1")
    session.run(rows(-2), ["y"])
    session.close()  # its output is read to the end
    assert "the first element is negative" in capsys.readouterr().out


def test_outputs_that_are_lent_stay_as_they_are_while_others_run(workers, tmp_path):
    session = workers.open(sleeping(tmp_path, [X], [Y]), OWN, "model 'm' version 1")
    count = 100_000
    answers = [session.run(rows(at, count), ["y"])["y"] for at in range(5)]
    before = session.copied_bytes
    session.run(rows(9, count), ["y"])
    assert session.copied_bytes - before == count * 16, "one copy in, none out"
    assert [(answer[0, 0], answer[-1, -1]) for answer in answers] == [(at, at) for at in range(5)]
    session.close()
    assert [float(answer.sum()) for answer in answers] == [at * count * 4 for at in range(5)]


def test_outputs_that_nobody_could_foresee_the_size_of_come_whole(opened, tmp_path):
    text = TensorSpec("x", "BYTES", (-1, -1)), TensorSpec("y", "BYTES", (-1, -1))
    session = opened(sleeping(tmp_path, [text[0]], [text[1]]), OWN, "model 'm' version 1")
    for length in (1, 100_000, 3):
        sent = np.array([[b"a" * length, b""]], object)
        assert session.run({"x": sent}, ["y"])["y"].tolist() == sent.tolist()


def test_answers_that_do_not_fit_fail_their_run_and_no_other(tmp_path):
    workers = Workers(limits=WorkerLimits(slab_bytes=2**20))
    there = TensorSpec("y", "FP32", (-1, 2**20))
    session = workers.open(sleeping(tmp_path, [TensorSpec("x", "FP32", (-1, 4))], [there]), OWN, "the model")
    for _ in range(3):
        with pytest.raises(RunFailed, match="do not fit"):
            session.run(rows(1), ["y"])
    workers.close()


def test_an_input_that_nothing_can_carry_is_refused_in_words(opened, tmp_path):
    session = opened(sleeping(tmp_path, [X], [Y]), OWN, "the model")
    with pytest.raises(RunFailed, match=r"complex64.*no datatype of the protocol"):
        session.run({"x": np.zeros((1, 4), np.complex64)}, ["y"])
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]


def test_tensors_that_are_larger_than_what_is_shared_are_refused_in_words(tmp_path):
    workers = Workers(limits=WorkerLimits(slab_bytes=2**20))
    session = workers.open(sleeping(tmp_path, [X], [Y]), OWN, "model 'm' version 1")
    with pytest.raises(InputRefused, match="do not fit into the 1048576 that are shared"):
        session.run(rows(1, 2**16), ["y"])
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]
    workers.close()


def test_a_run_that_waited_for_room_while_its_process_ended_is_told_that_it_ended(tmp_path):
    workers = Workers(limits=WorkerLimits(slab_bytes=2**20))
    session = workers.open(sleeping(tmp_path, [X], [Y]), OWN, "model 'm' version 1")
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]  # there is a lane to it now
    news, slab = heard(session), session._worker._slab
    others = slab.take(2**20 - 64, 1)
    with ThreadPoolExecutor(1) as caller:
        run = caller.submit(session.run, rows(1), ["y"])
        until(lambda: slab._waiting)
        kill(session)
        assert isinstance(news.get(timeout=10), Down)
        others.release()
        with pytest.raises(RuntimeLost, match=r"was ended by SIGKILL.*ask again"):
            run.result(10)
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]
    workers.close()


def test_a_run_for_which_others_leave_no_room_is_refused_as_busy(tmp_path, monkeypatch):
    monkeypatch.setattr("runtimes.worker.worker.ROOM_WITHIN_S", 0.1)
    workers = Workers(limits=WorkerLimits(slab_bytes=2**20))
    session = workers.open(sleeping(tmp_path, [X], [Y]), OWN, "model 'm' version 1")
    others = session._worker._slab.take(2**20, 1)
    with pytest.raises(RuntimeBusy, match=r"^model 'm' version 1 cannot run now: .* others have them; ask"):
        session.run(rows(1), ["y"])
    others.release()
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]
    workers.close()


def liar(answer: bytes) -> Callable[[Life], Lane]:
    """What native code in a worker can do that writes to the server's sockets."""

    def lane(_: Life) -> Lane:
        ours, theirs = socket.socketpair()

        def lie() -> None:
            with theirs:
                Lane(theirs).hear()
                theirs.sendall(answer)

        threading.Thread(target=lie, daemon=True).start()
        return Lane(ours)

    return lane


def message(content: bytes) -> bytes:
    return HEAD.pack(len(content)) + content


LIES = (
    message(b'{"outputs": [["y", "UINT8", [960000], 0, 0]]}'),
    message(b'{"outputs": 7}'),
    message(b'{"failed": "Everything", "why": ""}'),
    message(b'{"short": "x"}'),
    message(b"{"),
    HEAD.pack(2**32 - 1),
)


def test_a_worker_that_lies_is_killed_and_nothing_of_the_server_is_told(tmp_path, monkeypatch):
    limits = WorkerLimits(slab_bytes=2**20, crashes=CrashRule(most=99, first_s=0.001, longest_s=0.001))
    workers = Workers(limits=limits)
    session = workers.open(sleeping(tmp_path, [X], [Y]), OWN, "model 'm' version 1")
    for lie in LIES:
        until(lambda: session.pid)
        with monkeypatch.context() as lying:
            lying.setattr(Life, "lane", liar(lie))
            with pytest.raises(RuntimeLost, match="was killed, as it gave an answer that makes no sense"):
                session.run(rows(1), ["y"])
    session._worker._slab.take(2**20, 10).release()  # nothing of it stays taken
    assert session.run(rows(1), ["y"])["y"].tolist() == [[1] * 4]
    workers.close()


def test_an_answer_that_trickles_is_late_as_a_whole():
    ours, theirs = socket.socketpair()

    def trickle() -> None:
        with theirs:
            for byte in HEAD.pack(200) + b" " * 200:
                if over.wait(0.02):
                    return
                theirs.sendall(bytes([byte]))

    over = threading.Event()
    trickling = threading.Thread(target=trickle)
    trickling.start()
    try:
        with pytest.raises(LaneLost, match=r"did not answer within 0\.2 s"):
            Lane(ours).ask({}, 0.2)
    finally:
        over.set()
        trickling.join()
        ours.close()


def test_closing_waits_for_no_worker_that_is_just_being_started_again(workers, wild_file):
    session = workers.open(wild_file, OWN, "model 'wild' version 1")
    news = heard(session)
    kill(session)
    assert isinstance(news.get(timeout=10), Down)
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 5
    with pytest.raises(RuntimeLost):
        session.run(rows(GOOD), ["y"])


def test_nothing_is_left_of_workers_that_are_closed_or_were_killed(tmp_path):
    def fds() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def children() -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    def turn(killed: bool) -> None:
        workers = Workers()
        session = workers.open(onnx_mlp(tmp_path), OWN, "model 'm' version 1")
        assert session.run({"x": some_rows(1)}, ["y"])["y"].shape == (1, 10)
        if killed:
            kill(session)
        session.close()
        workers.close()

    others = set(children())
    turn(killed=False)
    gc.collect()
    threads, descriptors = threading.active_count(), fds()
    for killed in (False, True, True):
        turn(killed)
    gc.collect()
    until(lambda: threading.active_count() <= threads)
    until(lambda: fds() <= descriptors)
    until(lambda: not set(children()) - others)
