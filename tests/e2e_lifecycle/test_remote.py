"""Repositories that are no folders: a real bucket over a wire that can be cut, and plain HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from server.repository.sealing import seal, write_index
from tests.e2e.ensembles import DIAMOND, OVER, plus_both, put_ensemble
from tests.e2e.workshop import put, times
from tests.e2e_lifecycle.asking import answer, events, loads
from tests.e2e_lifecycle.bucket import KEY, SECRET, Bucket, s3_server
from tests.e2e_lifecycle.repository import Repository
from tests.relay import Relay
from tests.server_process import Server, running

QUICK = ("--repository-poll-secs=0.3", "--repository-settle-secs=0.2", "--log-format=json")
EXPLICIT = ("--model-control-mode=explicit",)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def line(store) -> Iterator[Relay]:
    with Relay(store) as line:
        yield line


@pytest.fixture
def bucket(store, request) -> Bucket:
    return Bucket(store, request.node.name)


@contextmanager
def serving(tmp_path: Path, line: Relay, url: str, *options: str, wait: bool = True) -> Iterator[Server]:
    environment = {
        "AWS_ENDPOINT_URL": f"http://{line.address}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    words = (*QUICK, f"--model-cache-dir={tmp_path / 'cache'}", *options)
    with running(tmp_path / "log", url, options=words, environment=environment, wait=wait) as server:
        yield server
    assert SECRET not in server.log


def scraped(server: Server, name: str) -> float:
    text = httpx.get(f"http://{server.metrics}/metrics").text
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + "{"))


def test_a_bucket_is_followed_over_a_line_that_is_cut_and_nobody_who_asks_notices(tmp_path, line, bucket):
    bucket.put("m/config.pbtxt", b"max_batch_size: 8")
    bucket.put("m/1/weights.bin", bytes(1_000_000))
    bucket.put_version("m", 1)
    line.cuts = 3
    with serving(tmp_path, line, bucket.url) as server:
        assert line.cuts == 0
        assert answer(server, "m") == 1
        (mirrored,) = (tmp_path / "cache").glob("mirrors/*/models/m/1/weights.bin")
        assert mirrored.read_bytes() == bytes(1_000_000)
        bucket.put_version("m", 2)
        server.until(lambda: answer(server, "m") == 2)
        server.until(lambda: ("m", "1") not in server.index() or server.index()["m", "1"][0] != "READY")
        bucket.put_version("n", 7)
        server.until(lambda: answer(server, "n") == 7)

        line.is_down = True
        server.until(lambda: events(server, "repository_unreachable"), within_s=60)
        assert scraped(server, "tercet_repository_reachable") == 0
        assert (answer(server, "m"), answer(server, "n")) == (2, 7)
        bucket.put_version("m", 3)
        line.is_down = False
        server.until(lambda: answer(server, "m") == 3, within_s=60)
        assert len(events(server, "repository_unreachable")) == len(events(server, "repository_back")) == 1
        assert scraped(server, "tercet_repository_reachable") == 1
        assert scraped(server, "tercet_repository_last_poll_timestamp_seconds") > 1.7e9

        bucket.delete("n/7/model.onnx")
        server.until(lambda: not any(model == "n" for model, _ in server.index()))
        assert loads(server, "m") == 3


@pytest.mark.slow
def test_a_start_while_the_bucket_is_away_serves_what_the_last_process_fetched(tmp_path, line, bucket):
    bucket.put_version("m", 1)
    with serving(tmp_path, line, bucket.url) as server:
        assert answer(server, "m") == 1
    line.is_down = True
    with serving(tmp_path, line, bucket.url) as server:
        assert answer(server, "m") == 1


def test_a_load_fetches_what_it_asks_for_and_an_unload_lets_it_go(tmp_path, line, bucket):
    bucket.put("m/config.pbtxt", b"max_batch_size: 8")
    for version in (1, 2):
        bucket.put_version("m", version)
    bucket.put_version("big", 1, bytes(50_000))
    with serving(tmp_path, line, bucket.url, *EXPLICIT, "--model-cache-bytes=10000") as server:
        mirrored = partial((tmp_path / "cache").glob, "mirrors/*/models/*/*/*")
        assert set(server.index()) == {("big", ""), ("m", "")}
        assert not list(mirrored())
        assert server.client.post("/v2/repository/models/m/load").status_code == 200
        assert answer(server, "m") == 2
        load_one = {"parameters": {"version": 1}}
        assert server.client.post("/v2/repository/models/m/load", json=load_one).status_code == 200
        assert (answer(server, "m", "1"), answer(server, "m", "2")) == (1, 2)
        assert len(list(mirrored())) == 2

        bucket.put_version("late", 5)
        assert server.client.post("/v2/repository/models/late/load").status_code == 200
        assert answer(server, "late") == 5
        refused = server.client.post("/v2/repository/models/nowhere/load")
        assert "failed to poll from model repository" in refused.json()["error"]
        refused = server.client.post("/v2/repository/models/big/load")
        assert "could not be fetched: needs 50000 bytes of a model cache of 10000" in refused.json()["error"]

        for model in ("m", "late"):
            assert server.client.post(f"/v2/repository/models/{model}/unload").status_code == 200
        assert answer(server, "m") is None
        assert not list(mirrored())


def test_an_ensemble_brings_what_it_is_made_of_at_the_start_and_in_a_load(tmp_path, line, bucket):
    folder = tmp_path / "source"
    for name, model in (("double", times(2)), ("triple", times(3)), ("sum", plus_both())):
        put(folder, name, model, "max_batch_size: 8")
    for name, config in (("diamond", DIAMOND), ("over", OVER)):
        put_ensemble(folder, name, config)
        (folder / name / "1" / "nothing").touch()  # a bucket has no empty folders
    for model in folder.iterdir():
        bucket.put_folder(model, model.name)
    with serving(tmp_path, line, bucket.url, *EXPLICIT, "--load-model=over") as server:

        def asked() -> object:
            return server.client.post("/v2/models/over/predict", json={"X": [1, 2]}).json().get("Y")

        assert asked() == [10, 20]
        gone = {"parameters": {"unload_dependents": True}}
        assert server.client.post("/v2/repository/models/over/unload", json=gone).status_code == 200
        assert not list((tmp_path / "cache").glob("mirrors/*/models/*"))
        loaded = server.client.post("/v2/repository/models/over/load")
        assert (loaded.status_code, loaded.text) == (200, "")
        assert asked() == [10, 20]


def test_a_version_with_its_manifest_is_taken_up_as_it_comes_and_a_spoilt_one_is_refused(
    tmp_path, line, bucket
):
    source = Repository(tmp_path / "source")
    options = ("--repository-settle-secs=2", "--require-manifest")
    seal(source.write("m", 1))
    bucket.put_folder(source.path / "m", "m")
    with serving(tmp_path, line, bucket.url, *options) as server:
        assert answer(server, "m") == 1
        seal(source.write("m", 2))
        bucket.put_folder(source.folder("m", 2), "m/2")
        server.until(lambda: answer(server, "m") == 2)
        seal(source.write("m", 3))
        bucket.put_folder(source.folder("m", 3), "m/3")
        server.until(lambda: answer(server, "m") == 3)
        seal(source.write("m", 4))
        spoilt = source.folder("m", 4) / "model.onnx"
        spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
        bucket.put_folder(source.folder("m", 4), "m/4")
        server.until(lambda: ("m", "4") in server.index() and server.index()["m", "4"][0] == "UNAVAILABLE")
        assert server.index()["m", "4"][1].startswith("model.onnx has the SHA-256 ")
        assert answer(server, "m") == 3


def test_a_folder_behind_a_plain_web_server_is_followed_by_its_index(tmp_path, line):
    source = Repository(tmp_path / "source")
    source.write("m", 1)
    write_index(source.path)
    handler = partial(SimpleHTTPRequestHandler, directory=str(source.path))
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{web.server_address[1]}"
        with serving(tmp_path, line, url) as server:
            assert answer(server, "m") == 1
            source.write("m", 2)
            write_index(source.path)
            server.until(lambda: answer(server, "m") == 2)
    finally:
        web.shutdown()
        thread.join()
        web.server_close()
