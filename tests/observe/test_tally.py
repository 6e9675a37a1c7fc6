"""What one version has done so far, as plain numbers."""

from server.observe.run_counts import Span
from server.observe.tally import FAILURES, Tally


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


def test_two_tallies_share_nothing():
    one, other = Tally(), Tally()
    one.failed("OTHER", 1)
    one.batch(1)
    one.request_s.add(1.0)
    one.stage("pre")
    assert (other.failures["OTHER"], other.batches, other.stage_s) == (0, {}, {})
    assert sum(other.request_s.counts) == 0
