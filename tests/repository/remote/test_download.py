"""Objects that come into the cache: whole, cut, changed under way, wanted by many, and too many of them."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.repository.remote.cache import CacheFull, ObjectCache
from server.repository.remote.download import Downloads
from server.repository.remote.listing import RemoteFile
from server.repository.remote.store import StoreFault

CONTENT = bytes(range(256)) * 40
PIECE = 1_000


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Shelf:
    """A store in memory whose line can be cut, and whose objects can change while they are read."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.cut_after: int | None = None
        self.understands_ranges = True
        self.asked: list[tuple[str, int]] = []
        self.tag_now = "t1"
        self.held: threading.Event | None = None

    def list(self):
        return {path: RemoteFile(len(content), "t1") for path, content in self.objects.items()}

    def read(self, path, start, size):
        self.asked.append((path, start))
        if self.held is not None:
            self.held.wait(10)
        content = self.objects[path]
        at = start if self.understands_ranges else 0
        sent = 0
        while at < len(content):
            if self.cut_after is not None and sent >= self.cut_after:
                raise StoreFault(f"{path} cannot be read: cut")
            yield at, content[at : at + PIECE]
            at += PIECE
            sent += PIECE

    def tag(self, path):
        return self.tag_now


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "cache", max_bytes=100_000)


def downloads(shelf: Shelf, cache: ObjectCache) -> Downloads:
    return Downloads(shelf, cache, "shelf")


def test_an_object_is_kept_under_its_sum_and_not_fetched_again(cache):
    shelf = Shelf(a=CONTENT)
    ours = downloads(shelf, cache)
    file = RemoteFile(len(CONTENT), "t1")
    assert ours.bring("a", file) == sha256(CONTENT) == ours.bring("a", file)
    assert shelf.asked == [("a", 0)]
    assert ours.fetched_bytes == len(CONTENT)


def test_a_cut_download_goes_on_where_it_stopped(cache):
    shelf = Shelf(a=CONTENT)
    shelf.cut_after = 3 * PIECE
    file = RemoteFile(len(CONTENT), "t1")
    with pytest.raises(StoreFault, match="cut"):
        downloads(shelf, cache).bring("a", file)
    shelf.cut_after = None
    assert downloads(shelf, cache).bring("a", file) == sha256(CONTENT)
    assert shelf.asked == [("a", 0), ("a", 3 * PIECE)]


def test_where_the_store_knows_no_ranges_a_cut_download_begins_anew(cache):
    shelf = Shelf(a=CONTENT)
    shelf.cut_after, shelf.understands_ranges = 3 * PIECE, False
    file = RemoteFile(len(CONTENT), "t1")
    with pytest.raises(StoreFault):
        downloads(shelf, cache).bring("a", file)
    shelf.cut_after = None
    assert downloads(shelf, cache).bring("a", file) == sha256(CONTENT)


def test_an_object_that_changes_while_it_is_fetched_is_not_kept(cache):
    shelf = Shelf(a=CONTENT)
    shelf.tag_now = "t2"
    with pytest.raises(StoreFault, match="a changed while it was fetched"):
        downloads(shelf, cache).bring("a", RemoteFile(len(CONTENT), "t1"))
    assert (cache.held_bytes(), list(cache.partial.iterdir())) == (0, [])


def test_an_object_that_is_not_what_the_index_says_is_not_kept(cache):
    with pytest.raises(StoreFault, match=r"a has the SHA-256 .* and should have abababababab…"):
        downloads(Shelf(a=CONTENT), cache).bring("a", RemoteFile(len(CONTENT), "ab" * 32, "ab" * 32))
    assert cache.held_bytes() == 0


def test_an_object_that_is_longer_or_shorter_than_listed_is_not_kept(cache):
    for size, why in ((len(CONTENT) - 1, "has more than its"), (len(CONTENT) + 1, "ended after")):
        with pytest.raises(StoreFault, match=why):
            downloads(Shelf(a=CONTENT), cache).bring("a", RemoteFile(size, "t1"))
    assert cache.held_bytes() == 0


def test_ten_who_want_an_object_at_once_fetch_it_once(cache):
    shelf = Shelf(a=CONTENT)
    shelf.held = threading.Event()
    ours = downloads(shelf, cache)
    with ThreadPoolExecutor(10) as threads:
        wanted = [threads.submit(ours.bring, "a", RemoteFile(len(CONTENT), "t1")) for _ in range(10)]
        shelf.held.set()
        assert {each.result(10) for each in wanted} == {sha256(CONTENT)}
    assert len(shelf.asked) == 1


def test_content_that_a_manifest_names_and_the_cache_has_is_not_fetched(cache):
    ours = downloads(Shelf(a=CONTENT), cache)
    known = ours.bring("a", RemoteFile(len(CONTENT), "t1"))
    elsewhere = Shelf()
    assert downloads(elsewhere, cache).bring("b", RemoteFile(len(CONTENT), "t9"), likely=known) == known
    assert elsewhere.asked == []


def test_an_object_that_rots_on_the_disk_is_noticed_and_fetched_again(cache, tmp_path):
    shelf = Shelf(a=CONTENT)
    file = RemoteFile(len(CONTENT), "t1")
    ours = downloads(shelf, cache)
    digest = ours.bring("a", file)
    (rotten,) = cache.folder.glob("objects/*/*")
    rotten.chmod(0o644)
    rotten.write_bytes(b"x" + CONTENT[1:])
    again = ObjectCache(cache.folder, cache.max_bytes)
    assert not again.has(digest)
    assert ours.bring("a", file) == digest
    assert len(shelf.asked) == 2
    cache.link(digest, tmp_path / "linked")
    assert (tmp_path / "linked").read_bytes() == CONTENT


def test_the_least_recently_used_goes_first_and_what_is_in_use_never(tmp_path):
    cache = ObjectCache(tmp_path / "cache", max_bytes=35)
    contents = {name: name.encode() * 10 for name in "abc"}
    ours = downloads(Shelf(**contents, d=b"d" * 10, e=b"e" * 30), cache)
    digests = {}
    for name in contents:
        digests[name] = ours.bring(name, RemoteFile(10, "t1"))
        threading.Event().wait(0.01)  # longer than the kernel's file times are coarse
    cache.link(digests["a"], tmp_path / "a")
    ours.bring("d", RemoteFile(10, "t1"))
    assert [name for name in contents if cache.has(digests[name])] == ["a", "c"]
    with pytest.raises(CacheFull, match="needs 30 bytes of a model cache of 35: 10 are in use"):
        ours.bring("e", RemoteFile(30, "t1"))
    (tmp_path / "a").unlink()
    ours.bring("e", RemoteFile(30, "t1"))
    assert cache.held_bytes() <= 35


def test_parts_that_nobody_went_on_with_for_a_day_are_cleared_away(cache):
    for name, age_s in (("old", 2 * 86_400), ("young", 3_600)):
        (cache.partial / name).write_bytes(b"part")
        then = time.time() - age_s
        os.utime(cache.partial / name, (then, then))
    ObjectCache(cache.folder, cache.max_bytes)
    assert [part.name for part in cache.partial.iterdir()] == ["young"]


def test_what_is_being_fetched_counts_against_the_bound(tmp_path):
    cache = ObjectCache(tmp_path / "cache", max_bytes=25)
    with cache.room(20), pytest.raises(CacheFull, match="20 are being fetched"), cache.room(10):
        pass
    with cache.room(25):
        pass
