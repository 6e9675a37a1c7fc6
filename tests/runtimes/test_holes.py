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
        assert holes.is_free_from(SIZE - 1) == (holes.free > 0 and not covers(taken, SIZE - 1))
    for start, size in taken.items():
        holes.give(start, size)
    assert holes.take(SIZE) == 0


def covers(taken: dict[int, int], place: int) -> bool:
    return any(start <= place < start + size for start, size in taken.items())


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
