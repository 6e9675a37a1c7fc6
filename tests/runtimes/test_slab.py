"""Memory that two processes share: handed out once, given back, and gone with them."""

import gc
import mmap
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from runtimes.slab import ALIGNMENT, Slab, SlabFull, map_to_read, map_to_write

MIB = 2**20


def until(holds, within_s=20.0):
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def refused(slab, size, within_s):
    with pytest.raises(SlabFull):
        slab.take(size, within_s)


def on_disk(slab):
    """Bytes of it that take memory."""
    return os.fstat(slab.descriptor).st_blocks * 512


@pytest.fixture
def slab():
    made = Slab(MIB)
    yield made
    made.close()


def test_what_one_side_writes_the_other_reads(slab):
    place = slab.take(100, 0)
    place.view[:] = 7
    theirs = map_to_read(os.dup(slab.descriptor))
    assert theirs[place.start : place.start + place.size].tolist() == [7] * place.size
    map_to_write(slab.descriptor)[place.start] = 9
    assert place.view[0] == 9


def test_the_side_that_reads_cannot_write(slab):
    with pytest.raises(ValueError, match="read-only"):
        map_to_read(slab.descriptor)[0] = 1


def test_neither_side_can_make_it_smaller_under_the_other(slab):
    with pytest.raises(PermissionError):
        os.ftruncate(slab.descriptor, mmap.PAGESIZE)


def test_places_are_aligned_and_do_not_touch(slab):
    places = [slab.take(size, 0) for size in (1, 63, 64, 65)]
    assert [place.start % ALIGNMENT for place in places] == [0] * 4
    for before, after in pairwise(places):
        assert before.start + before.size <= after.start


def test_who_asks_for_more_than_there_is_is_told_so_at_once(slab):
    with pytest.raises(SlabFull, match=rf"{2 * MIB} bytes .* {MIB}"):
        slab.take(2 * MIB, 60)


def test_who_comes_while_all_is_taken_waits_and_then_is_told(slab):
    slab.take(MIB, 0)
    with pytest.raises(SlabFull, match="others have them"):
        slab.take(1, 0.02)


def test_who_waits_has_it_as_soon_as_it_is_released(slab):
    place = slab.take(MIB, 0)
    threading.Timer(0.02, place.release).start()
    assert slab.take(MIB, 10).start == 0


def test_what_is_lent_comes_back_with_the_last_view_of_it(slab):
    lent = slab.take(MIB, 0).lend()
    part = lent[8:16].view(np.float64).reshape(1)
    del lent
    with pytest.raises(SlabFull):
        slab.take(1, 0.01)
    assert part.tolist() == [0.0]
    del part
    gc.collect()
    assert slab.take(MIB, 0).start == 0


def test_who_fits_is_not_held_up_by_who_does_not(slab):
    low, reader = slab.take(MIB // 2 - 64, 0), slab.take(64, 0)
    low.release()
    waiting = threading.Thread(target=refused, args=(slab, MIB * 3 // 4, 0.5))
    waiting.start()
    until(lambda: slab._waiting)
    slab.take(64, 0).release()
    slab.take(64, 10).release()
    assert waiting.is_alive()
    waiting.join()
    reader.release()
    assert slab.take(MIB, 0).start == 0


def test_who_has_waited_longest_is_not_starved_by_smaller_ones():
    slab = Slab(MIB)
    held = [slab.take(MIB // 8, 0) for _ in range(8)]
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(slab.take(MIB // 2, 20).start))
    waiting.start()
    until(lambda: slab._waiting)
    for place in held:  # somebody else would take each as soon as it is free
        place.release()
        with suppress(SlabFull):
            slab.take(MIB // 8, 0)
    waiting.join()
    assert got
    slab.close()


def test_a_window_that_never_comes_free_is_not_kept_for_ever(slab, monkeypatch):
    monkeypatch.setattr("runtimes.slab.CLAIM_S", 0.05)
    slab.take(64, 0)
    waiting = threading.Thread(target=refused, args=(slab, MIB, 0.5))
    waiting.start()
    until(lambda: slab._waiting)
    with pytest.raises(SlabFull):
        slab.take(64, 0)
    slab.take(64, 10)
    assert waiting.is_alive()
    waiting.join()


def test_who_waits_for_a_slab_that_is_closed_is_told_at_once():
    slab = Slab(MIB)
    slab.take(MIB, 0)
    waiting = threading.Thread(target=refused, args=(slab, 64, 60))
    waiting.start()
    until(lambda: slab._waiting)
    slab.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_what_a_large_request_took_is_given_back_though_nobody_comes_any_more():
    slab = Slab(64 * MIB)
    large = slab.take(48 * MIB, 0)
    large.view[:] = 1
    large.release()
    until(lambda: on_disk(slab) == 0)
    assert slab.take(64 * MIB, 10).start == 0  # a moment later it is free as well
    slab.close()


def test_what_was_in_use_lately_is_not_given_back():
    slab = Slab(64 * MIB)
    slab.tidy()
    large = slab.take(8 * MIB, 0)
    large.view[:] = 1
    large.release()
    assert slab.tidy()
    assert on_disk(slab) == 8 * MIB
    assert not slab.tidy()
    assert on_disk(slab) == 0
    slab.close()


def test_what_is_still_in_use_is_not_given_back():
    slab = Slab(8 * MIB)
    low, middle, high = (slab.take(2 * MIB, 0) for _ in range(3))
    for place in (low, middle, high):
        place.view[:] = 5
    low.release()
    high.release()
    slab.tidy()
    assert slab.tidy()
    assert on_disk(slab) == 4 * MIB
    assert set(middle.view.tolist()) == {5}
    slab.close()


def test_nothing_of_it_is_left_when_its_owner_is_killed():
    program = "import os, signal; from runtimes.slab import Slab; s = Slab(2**20); s.take(9, 0).view[:] = 1; "
    ended = subprocess.run([sys.executable, "-c", program + "os.kill(os.getpid(), signal.SIGKILL)"])
    assert ended.returncode == -9
    assert not [name for name in os.listdir("/dev/shm") if "tercet" in name]


def test_a_place_that_is_released_twice_is_not_given_to_two(slab):
    place = slab.take(MIB, 0)
    place.release()
    other = slab.take(MIB, 0)
    place.release()
    with pytest.raises(SlabFull):
        slab.take(1, 0.01)
    assert other.start == 0


def test_nobody_takes_of_one_that_is_closed(slab):
    other = Slab(MIB)
    other.close()
    with pytest.raises(SlabFull, match="closed"):
        other.take(1, 0)
