"""What one version has done so far, as plain numbers."""

from collections.abc import Sequence

from server.observe.run_counts import Span
from server.observe.tally import FAILURES, NOTED_AT_ONCE, Tally


def test_a_failure_is_counted_once_by_its_reason():
    tally = Tally()
    for reason in ("REJECTED", "BACKEND", "REJECTED"):
        tally.failed(reason, 10)
    assert tally.failures == dict.fromkeys(FAILURES, 0) | {"REJECTED": 2, "BACKEND": 1}
    assert tally.fail == Span(3, 30)


def test_each_batch_size_and_each_stage_has_its_own_figures():
    tally = Tally()
    tally.batch(4).compute_infer.add(1, 7)
    assert tally.batch(4).compute_infer == Span(1, 7)
    assert tally.batch(2).compute_infer == Span(0, 0)
    tally.stage("pre").add(0.01)
    assert sum(tally.stage("pre").counts) == 1
    assert sum(tally.stage("post").counts) == 0


def test_those_who_wait_in_any_queue_are_pending_until_it_is_closed():
    tally = Tally()
    one, other = [1, 2], [3]
    for queue in (one, other):
        tally.opens(queue)
    one.pop()
    assert tally.pending == 2
    tally.closes(other)
    assert tally.pending == 1


def test_two_tallies_share_nothing():
    one, other = Tally(), Tally()
    one.failed("OTHER", 1)
    one.batch(1)
    one.request_s.add(1.0)
    one.stage("pre")
    assert (other.failures["OTHER"], other.batches, other.stage_s) == (0, {}, {})
    assert sum(other.request_s.counts) == 0


def to_queue(tally: Tally, rows: Sequence[int]) -> None:
    tally.sums.queue.add(len(rows), sum(rows))


def to_stages(tally: Tally, rows: Sequence[float]) -> None:
    tally.stage("pre").add_each(rows)
    tally.times("predict").queue.add_each(rows)


def test_what_is_noted_is_counted_once_before_anybody_reads():
    tally = Tally()
    tally.note(to_stages, 0.01)
    tally.note(to_stages, 0.02)
    tally.note(to_queue, 7)
    assert sum(tally.stage_s["pre"].counts) == 2
    assert sum(tally.stage_times["predict"].queue.counts) == 2
    assert tally.queue == tally.queue == Span(1, 7)


def test_so_many_notes_are_counted_without_a_reader_and_no_more_wait():
    tally = Tally()
    tally.note(to_stages, 0.01)
    for _ in range(NOTED_AT_ONCE - 1):
        tally.note(to_queue, 7)
    assert tally.sums.queue == Span(0, 0)
    tally.note(to_queue, 7)
    assert tally.sums.queue == Span(NOTED_AT_ONCE, 7 * NOTED_AT_ONCE)
    tally.note(to_queue, 7)
    assert tally.sums.queue == Span(NOTED_AT_ONCE, 7 * NOTED_AT_ONCE), "they are counted once"
    assert tally.queue == Span(NOTED_AT_ONCE + 1, 7 * (NOTED_AT_ONCE + 1))
