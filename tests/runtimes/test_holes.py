"""Room in a stretch of bytes is handed out once, and comes back whole."""

from hypothesis import given
from hypothesis import strategies as st

from runtimes.holes import Holes

SIZE = 64


@given(st.lists(st.one_of(st.integers(1, SIZE), st.just(0)), max_size=60), st.randoms(use_true_random=False))
def test_what_is_taken_never_overlaps_and_all_of_it_comes_back(asked, random):
    holes, taken = Holes(SIZE), {}
    for size in asked:
        if not size:  # give one back
            if taken:
                start = random.choice(sorted(taken))
                holes.give(start, taken.pop(start))
            continue
        start = holes.take(size)
        if start is not None:
            assert 0 <= start <= SIZE - size
            assert all(start + size <= other or other + held <= start for other, held in taken.items())
            taken[start] = size
        assert holes.free == SIZE - sum(taken.values())
        assert holes.in_use_below == max([begin + size for begin, size in taken.items()], default=0)
    for start, size in taken.items():
        holes.give(start, size)
    assert holes.take(SIZE) == 0


@given(
    st.lists(st.integers(1, SIZE // 2), max_size=12),
    st.sets(st.integers(0, 11)),
    st.integers(1, SIZE),
    st.integers(1, SIZE),
)
def test_nothing_is_given_of_the_window_that_is_left_out_and_it_is_the_emptiest(sizes, left, window, wanted):
    holes, used = Holes(SIZE), [False] * SIZE
    for number, size in enumerate(sizes):
        start = holes.take(size)
        if start is not None and number in left:
            used[start : start + size] = [True] * size
        elif start is not None:
            holes.give(start, size)
    low, high = holes.emptiest(window)
    assert high - low == window
    assert 0 <= low <= high <= SIZE
    fewest = min(sum(used[begin : begin + window]) for begin in range(SIZE - window + 1))
    assert sum(used[low:high]) == fewest
    start = holes.take(wanted, (low, high))
    kept = [place_used or low <= at < high for at, place_used in enumerate(used)]
    fits = [not any(kept[at : at + wanted]) for at in range(SIZE - wanted + 1)]
    assert start == (fits.index(True) if any(fits) else None)


def test_a_very_stretch_is_taken_only_where_all_of_it_is_free():
    holes = Holes(10)
    holes.take(2)
    assert not holes.take_at(1, 4)
    assert holes.take_at(4, 3)
    assert not holes.take_at(6, 1)
    assert (holes.free, holes.take(3), holes.take(2)) == (5, 7, 2)


@given(st.lists(st.integers(1, SIZE), max_size=20))
def test_there_is_no_room_only_where_no_hole_is_large_enough(sizes):
    holes, free = Holes(SIZE), SIZE
    for size in sizes:  # nothing comes back, so there is one hole
        assert (holes.take(size) is not None) == (size <= free)
        free -= size if size <= free else 0


def test_the_lowest_room_goes_first():
    holes = Holes(10)
    first, second = holes.take(4), holes.take(4)
    holes.give(first, 4)
    assert (first, second, holes.take(2)) == (0, 4, 0)
