"""A remote repository on this node: a real HTTP server, real folders, a clock that the test moves."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from server.repository.remote.address import read_address
from server.repository.remote.cache import ObjectCache
from server.repository.remote.listing import RemoteFile
from server.repository.remote.mirror import NOT_HERE, Mirror
from server.repository.remote.web import WebStore
from server.repository.scanner import Scanner
from server.repository.sealing import write_index
from tests.repository.conftest import Clock, Repository, onnx_bytes

ALL = "version_policy { all {} }"


class Web:
    """A repository that is served over HTTP."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(folder)
        self.asked: list[str] = []
        self.unchanged = 0
        self.is_down = False
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                if web.is_down:
                    self.send_error(503)
                elif self.headers["if-none-match"] == web.etag():
                    web.unchanged += 1
                    self.send_response(304)
                    self.end_headers()
                else:
                    super().do_GET()

            def end_headers(self) -> None:
                if self.path == "/index.json":
                    self.send_header("etag", web.etag())
                super().end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def publish(self) -> None:
        write_index(self.repository.path)

    def etag(self) -> str:
        index = self.repository.path / "index.json"
        return f'"{hashlib.sha256(index.read_bytes()).hexdigest()}"' if index.exists() else '""'

    def fetched(self) -> list[str]:
        """What was asked for since last time, but the index."""
        asked, self.asked = [path for path in self.asked if path != "/index.json"], []
        return sorted(asked)


class ObjectsInMemory:
    """A store that tells tags and no sums, as buckets do."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.read_count = 0

    def list(self):
        return {
            path: RemoteFile(len(content), f"tag-{len(content)}") for path, content in self._objects.items()
        }

    def read(self, path, start, size):
        self.read_count += 1
        yield 0, self._objects[path]

    def tag(self, path):
        return f"tag-{len(self._objects[path])}"


@contextmanager
def serving_web(folder: Path) -> Iterator[Web]:
    web = Web(folder)
    thread = threading.Thread(target=web.server.serve_forever)
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        thread.join()
        web.server.server_close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving_web(tmp_path / "source") as web:
        yield web


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "cache", max_bytes=2**20)


@pytest.fixture
def serving() -> set[int]:
    """The versions that serve."""
    return set()


@pytest.fixture
def mirror(web: Web, cache: ObjectCache, clock: Clock, serving: set[int]) -> Iterator[Mirror]:
    made = mirror_of(web, cache, clock, in_use=lambda model: serving)
    yield made
    made.close()


def mirror_of(web: Web, cache: ObjectCache, clock: Clock, **facts) -> Mirror:
    store = WebStore(read_address(web.url))
    return Mirror(web.url, store, cache, settle_s=1.0, clock=clock.monotonic, wall_clock=clock.wall, **facts)


def sync(mirror: Mirror) -> list[str]:
    """What a process does at every poll."""
    names = mirror.poll()
    for name in names:
        mirror.bring(name)
    mirror.remember()
    return names


def files(mirror: Mirror) -> list[str]:
    return sorted(
        path.relative_to(mirror.path).as_posix() for path in mirror.path.rglob("*") if path.is_file()
    )


def test_a_remote_model_is_a_folder_that_the_scanner_offers(web, mirror, clock):
    web.repository.put("m", 1, config="max_batch_size: 8")
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx", "m/config.pbtxt"]
    scanner = Scanner([mirror.path], clock=clock.monotonic, wall_clock=clock.wall)
    (offer,) = scanner.scan().offers.values()
    assert (set(offer.versions), offer.config.max_batch_size) == ({1}, 8)


def test_what_has_not_changed_is_neither_listed_nor_fetched_twice(web, mirror):
    web.repository.put("m", 1)
    web.publish()
    assert sync(mirror) == ["m"]
    web.fetched()
    assert sync(mirror) == []
    assert (web.fetched(), web.unchanged) == ([], 1)
    web.repository.put("n", 1)
    web.publish()
    assert sync(mirror) == ["n"]


def test_only_the_versions_that_the_policy_chooses_are_fetched(web, mirror):
    for version in (1, 2, 3):
        web.repository.put("m", version, onnx_bytes(version))
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/3/model.onnx"]
    (web.repository.path / "m/config.pbtxt").write_text("version_policy { specific { versions: [ 1, 2 ] } }")
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx", "m/2/model.onnx", "m/config.pbtxt"]


def test_a_version_that_serves_stays_until_its_successor_does(web, mirror, serving):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    serving.add(1)
    web.repository.put("m", 2, onnx_bytes(2))
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx", "m/2/model.onnx"]
    assert sync(mirror) == []
    serving.clear()
    sync(mirror)
    assert files(mirror) == ["m/2/model.onnx"]


def test_what_is_deleted_at_its_source_goes_here_too(web, mirror, serving):
    serving.add(1)
    for name in ("m", "n"):
        web.repository.put(name, 1, config=ALL)
        web.repository.put(name, 2)
    web.publish()
    sync(mirror)
    shutil.rmtree(web.repository.path / "m/1")
    shutil.rmtree(web.repository.path / "n")
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/2/model.onnx", "m/config.pbtxt"]


def test_a_version_that_is_written_anew_takes_the_place_of_the_old(web, mirror):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    web.repository.put("m", 1, onnx_bytes(2))
    web.publish()
    sync(mirror)
    assert (mirror.path / "m/1/model.onnx").read_bytes() == onnx_bytes(2)


def test_a_source_that_does_not_answer_takes_nothing_away_and_is_told_once(web, mirror, clock):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    polled_s = mirror.facts.polled_s
    web.is_down = True
    clock.s += 15
    assert sync(mirror) == []
    assert files(mirror) == ["m/1/model.onnx"]
    assert (mirror.facts.is_reachable, mirror.facts.polled_s) == (False, polled_s)
    web.is_down = False
    sync(mirror)
    assert mirror.facts.is_reachable


def test_a_source_that_lists_nothing_any_more_takes_nothing_away(web, mirror):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    shutil.rmtree(web.repository.path / "m")
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx"]
    assert not mirror.facts.is_reachable


def test_an_index_that_is_only_half_there_takes_nothing_away(web, mirror):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    index = web.repository.path / "index.json"
    index.write_bytes(index.read_bytes()[:-20])
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx"]


def test_the_next_process_serves_from_the_cache_while_the_source_is_away(web, cache, clock):
    web.repository.put("m", 1, config=ALL)
    web.publish()
    first = mirror_of(web, cache, clock)
    sync(first)
    first.close()
    web.fetched()
    web.is_down = True
    second = mirror_of(web, ObjectCache(cache.folder, cache.max_bytes), clock)
    sync(second)
    assert files(second) == ["m/1/model.onnx", "m/config.pbtxt"]
    assert web.fetched() == []
    second.close()


def test_the_next_process_knows_which_content_each_tag_of_a_bucket_stood_for(cache, clock):
    shelf = ObjectsInMemory({"m/1/model.onnx": onnx_bytes()})
    for _ in range(2):
        mirror = Mirror(
            "s3://bucket",
            shelf,
            ObjectCache(cache.folder, cache.max_bytes),
            settle_s=0.0,
            clock=clock.monotonic,
            wall_clock=clock.wall,
        )
        sync(mirror)
        assert files(mirror) == ["m/1/model.onnx"]
        mirror.close()
    assert shelf.read_count == 1


def test_what_a_process_that_is_gone_has_left_holds_no_objects(cache, tmp_path, web, clock):
    web.repository.put("m", 1, b"x" * 900)
    web.publish()
    gone = mirror_of(web, ObjectCache(cache.folder, 1_000), clock)
    sync(gone)
    gone.close()
    with serving_web(tmp_path / "other") as other:
        other.repository.put("n", 1, b"y" * 900)
        other.publish()
        mirror = mirror_of(other, ObjectCache(cache.folder, 1_000), clock)
        sync(mirror)
        assert files(mirror) == ["n/1/model.onnx"]
        mirror.close()


def test_two_processes_share_a_cache_and_neither_fetches_what_the_other_has(web, cache, clock, mirror):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    web.fetched()
    other = mirror_of(web, ObjectCache(cache.folder, cache.max_bytes), clock)
    sync(other)
    assert files(mirror) == files(other) == ["m/1/model.onnx"]
    assert mirror.path != other.path
    assert web.fetched() == []
    other.close()


def test_a_file_that_rots_while_it_serves_is_noticed_by_the_next_poll_and_fetched_again(web, mirror, cache):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    web.fetched()
    (rotten,) = cache.folder.glob("objects/*/*")
    rotten.chmod(0o644)
    rotten.write_bytes(b"rot")
    assert sync(mirror) == ["m"]
    assert (mirror.path / "m/1/model.onnx").read_bytes() == onnx_bytes()
    assert web.fetched() == ["/m/1/model.onnx"]


def test_a_version_that_does_not_fit_into_the_cache_is_refused_with_the_arithmetic(web, tmp_path, clock):
    web.repository.put("m", 1, config=ALL)
    web.repository.put("m", 2, b"x" * 5_000)
    web.repository.put("n", 1, onnx_bytes(2))
    web.publish()
    mirror = mirror_of(web, ObjectCache(tmp_path / "cache", 1_000), clock)
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx", "m/config.pbtxt", "n/1/model.onnx"]
    (why,) = mirror.remarks()["m"].values()
    assert why.startswith("could not be fetched: needs 5000 bytes of a model cache of 1000: ")
    scanner = Scanner(
        [mirror.path], remarks={mirror.path: mirror.remarks}, clock=clock.monotonic, wall_clock=clock.wall
    )
    offer = scanner.scan().offers["m"]
    assert (set(offer.versions), offer.broken) == ({1}, {2: why})
    mirror.close()


def test_the_files_of_a_version_do_not_evict_one_another(web, tmp_path, clock):
    folder = web.repository.put("m", 1, b"x" * 600)
    (folder / "weights.bin").write_bytes(b"y" * 600)
    web.publish()
    mirror = mirror_of(web, ObjectCache(tmp_path / "cache", 1_000), clock)
    sync(mirror)
    assert files(mirror) == []
    (why,) = mirror.remarks()["m"].values()
    assert why.startswith("could not be fetched: needs 600 bytes of a model cache of 1000: 600 are in use")
    mirror.close()


def test_a_name_that_no_file_can_have_costs_its_own_model_alone(web, mirror):
    web.repository.put("m", 1)
    web.repository.put("n", 1)
    web.publish()
    index = web.repository.path / "index.json"
    index.write_text(index.read_text().replace("m/1/model.onnx", "m/1/\\ud800.onnx"))
    sync(mirror)
    assert files(mirror) == ["n/1/model.onnx"]
    assert set(mirror.remarks()) == {"m"}


def test_what_could_not_be_fetched_is_tried_again_after_a_while(web, mirror, clock):
    web.repository.put("m", 1)
    web.publish()
    (web.repository.path / "m/1/model.onnx").rename(web.repository.path / "aside")
    sync(mirror)
    assert mirror.remarks() == {"m": {1: "could not be fetched: /m/1/model.onnx is answered with 404"}}
    assert sync(mirror) == []
    (web.repository.path / "aside").rename(web.repository.path / "m/1/model.onnx")
    clock.s += mirror.wait_s()
    assert sync(mirror) == ["m"]
    assert (mirror.remarks(), files(mirror)) == ({}, ["m/1/model.onnx"])


def test_without_a_call_nothing_is_brought_where_calls_decide(web, cache, clock):
    web.repository.put("m", 1)
    web.repository.put("m", 2)
    web.publish()
    mirror = mirror_of(web, cache, clock, everything=False)
    sync(mirror)
    assert (files(mirror), mirror.remarks()) == ([], {"m": {0: NOT_HERE}})
    mirror.bring("m", frozenset({1}))
    assert (files(mirror), mirror.remarks()) == (["m/1/model.onnx"], {})
    mirror.release("m")
    assert files(mirror) == []
    mirror.close()


def test_a_name_that_leads_out_of_its_folder_is_not_taken(web, mirror, tmp_path):
    web.repository.put("m", 1)
    web.publish()
    index = web.repository.path / "index.json"
    index.write_text(index.read_text().replace("m/1/model.onnx", "m/../../../escaped/1/model.onnx"))
    sync(mirror)
    assert files(mirror) == []
    assert not list(tmp_path.rglob("escaped"))


def test_a_model_that_is_not_enabled_is_not_fetched(web, mirror):
    web.repository.put("m", 1, config='parameters { key: "tercet.enabled" value { string_value: "false" } }')
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/config.pbtxt"]


def test_a_configuration_that_breaks_leaves_the_versions_as_they_are(web, mirror, clock):
    web.repository.put("m", 1)
    web.publish()
    sync(mirror)
    (web.repository.path / "m/config.pbtxt").write_text("max_batch_sise: 3")
    web.publish()
    sync(mirror)
    assert files(mirror) == ["m/1/model.onnx", "m/config.pbtxt"]


def test_a_model_that_could_not_be_fetched_never_leaves_the_index_on_its_way_in(web, mirror, clock):
    """One that did would not be required any more, and the server ready without it."""
    scanner = Scanner(
        [mirror.path], remarks={mirror.path: mirror.remarks}, clock=clock.monotonic, wall_clock=clock.wall
    )
    web.repository.put("m", 1)
    web.publish()
    (web.repository.path / "m/1/model.onnx").rename(web.repository.path / "aside")
    sync(mirror)
    assert scanner.scan().offers["m"].problem.startswith("version 1: could not be fetched")
    (web.repository.path / "aside").rename(web.repository.path / "m/1/model.onnx")
    clock.s += mirror.wait_s()
    clock.ahead_s = 0.0
    sync(mirror)
    (mirror.path / "m/config.pbtxt").touch()  # so that its folder has not come by one rename
    scan = scanner.scan()
    assert scan.offers["m"].problem
    assert scan.settling == {"m"}, "so that nobody takes that for the last word"
    clock.s += 2
    assert set(scanner.scan().offers["m"].versions) == {1}
