"""An error keeps its class, its sentence and its facts on the way between tiers."""

import pytest

from protos import stage_pb2 as pb
from server.domain.errors import (
    InvalidRequest,
    QueueFull,
    StageFailed,
    TierFailed,
    TierUnavailable,
)
from server.wire.codes import CODES, codes_of
from server.wire.fault import error_of, fault_of


def there_and_back(error: Exception, **facts: bool):
    return error_of(pb.Fault.FromString(fault_of(error, "predict", 7, **facts).SerializeToString()))


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_what_it_was(kind):
    error = kind.__new__(kind)
    error.args = ("a sentence",)
    again = there_and_back(error)
    assert (type(again), str(again)) == (kind, "a sentence")
    assert codes_of(again) == codes_of(error)


def test_facts_that_clients_are_told_come_along():
    again = there_and_back(QueueFull("m", 3, 2.5))
    assert isinstance(again, QueueFull)
    assert again.retry_after_s == 2.5
    assert str(again) == str(QueueFull("m", 3, 2.5))


def test_the_first_stage_that_was_named_stays_named():
    lost = TierUnavailable("post", "m", "it has no endpoint that is ready", untouched=True)
    again = there_and_back(lost)
    assert isinstance(again, TierUnavailable)
    assert again.stage == "post"
    assert again.__dict__["untouched"] is False, "this tier has begun with it"
    assert there_and_back(InvalidRequest("no"), untouched=True).__dict__["untouched"] is True
    assert str(there_and_back(StageFailed("m", 1, "pre", "x"))).startswith("the pre stage")


def test_what_has_no_words_is_told_as_a_failure_of_its_tier_and_nothing_internal():
    again = there_and_back(ZeroDivisionError("a secret"))
    assert isinstance(again, TierFailed)
    assert "secret" not in str(again)
    assert "the predict tier failed" in str(again)
