"""What to do when a version is to be loaded: load, evict, wait or refuse."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.lifecycle.residency.accountant import Accountant, OverBudget
from server.lifecycle.residency.decision import (
    Evict,
    Fits,
    Kind,
    Refuse,
    Resident,
    Wait,
    decide,
    impossible,
    relieve,
)

MIB = 2**20


def holds(budget, *taken, leaving=()):
    """The books of the host's memory, and the residents a, b, c ... in the order in which they would go."""
    accountant = Accountant({"cpu": budget})
    residents = []
    for name, size in zip("abcdefgh", taken, strict=False):
        accountant.settle(accountant.reserve((name, 1), {}), {"cpu": size})
        if name in leaving:
            accountant.leaving((name, 1))
        else:
            residents.append(Resident(key=(name, 1), bytes={"cpu": size}))
    return accountant.books(), residents


def names(decision):
    assert isinstance(decision, Evict), decision
    return "".join(model for model, _ in decision.keys)


def test_what_fits_is_loaded():
    assert decide({"cpu": 40}, *holds(100, 60), now=0) == Fits()
    assert decide({"cuda:0": 2**40}, *holds(100, 60), now=0) == Fits()


def test_no_more_leave_than_needed_and_those_whom_the_policy_names_first():
    assert names(decide({"cpu": 10}, *holds(100, 40, 40, 20), now=0)) == "a"
    assert names(decide({"cpu": 50}, *holds(100, 40, 40, 20), now=0)) == "ab"


def test_a_small_one_stays_where_a_large_one_has_to_go_anyway():
    assert names(decide({"cpu": 50}, *holds(100, 10, 60, 30), now=0)) == "b"


def test_a_stand_by_leaves_before_any_that_serves():
    books, (a, b) = holds(100, 50, 50)
    assert names(decide({"cpu": 10}, books, [a, replace(b, kind=Kind.STANDBY)], now=0)) == "b"


def test_what_is_in_use_or_pinned_never_leaves():
    books, (a, b) = holds(100, 50, 50)
    in_use, pinned = replace(a, in_use=True), replace(b, pinned=True)
    assert decide({"cpu": 10}, books, [in_use, pinned], now=0) == Wait("all that could leave is in use")
    assert names(decide({"cpu": 10}, books, [replace(a, in_use=True), b], now=0)) == "b"


def test_memory_that_is_coming_back_is_waited_for_before_anybody_leaves():
    assert decide({"cpu": 50}, *holds(100, 50, 50, leaving="a"), now=0) == Wait("memory is being given back")
    assert names(decide({"cpu": 80}, *holds(100, 50, 50, leaving="a"), now=0)) == "b"


def test_what_can_never_fit_is_refused_with_the_arithmetic():
    books, (a, b, c) = holds(600 * MIB, 60 * MIB, 40 * MIB, 300 * MIB)
    pinned = [replace(a, pinned=True), replace(b, pinned=True), c]
    assert decide({"cpu": 812 * MIB}, books, pinned, now=0) == Refuse(
        "needs 812 MiB on cpu; the budget is 600 MiB, of which 100 MiB are pinned by a, b"
    )
    assert names(decide({"cpu": 500 * MIB}, books, pinned, now=0)) == "c"
    assert isinstance(decide({"cpu": 501 * MIB}, books, pinned, now=0), Refuse)
    assert decide({"cpu": 601 * MIB}, books, [], now=0) == Refuse(
        "needs 601 MiB on cpu; the budget is 600 MiB"
    )


def test_what_was_loaded_only_just_now_stays_for_a_while():
    books, (a, b) = holds(100, 50, 50)
    young = [replace(a, since=5.0), replace(b, since=7.0)]
    assert decide({"cpu": 10}, books, young, now=8, min_residency_s=10) == Wait(
        "what could leave was loaded only just now", until=15.0
    )
    assert names(decide({"cpu": 10}, books, young, now=15, min_residency_s=10)) == "a"
    assert names(decide({"cpu": 10}, books, [young[0], b], now=11, min_residency_s=10)) == "b"


def test_a_version_stays_as_long_again_as_its_load_took_and_is_waited_for():
    books, (a, b) = holds(100, 50, 50)
    newcomer = replace(a, since=5.0, load_s=30.0)
    assert decide({"cpu": 10}, books, [newcomer, b], now=20).until == 35.0
    assert names(decide({"cpu": 10}, books, [newcomer, b], now=35)) == "a"
    assert names(decide({"cpu": 10}, books, [newcomer, b], now=20, load_by=30.0)) == "b"
    answering = replace(newcomer, in_use=True)
    assert decide({"cpu": 10}, books, [answering, b], now=20).until == 35.0
    assert names(decide({"cpu": 10}, books, [answering, b], now=20, load_by=30.0)) == "b"
    assert names(decide({"cpu": 10}, books, [answering, b], now=35)) == "b", "it is in use for good"


def test_unless_the_request_that_waits_would_be_too_late():
    books, (a,) = holds(100, 100)
    young = [replace(a, since=5.0)]
    waits = decide({"cpu": 10}, books, young, now=8, min_residency_s=10, load_by=15.0)
    assert waits == Wait("what could leave was loaded only just now", until=15.0)
    assert names(decide({"cpu": 10}, books, young, now=8, min_residency_s=10, load_by=14.9)) == "a"


def test_who_frees_nothing_where_it_is_lacking_stays():
    accountant = Accountant({"cpu": 100, "cuda:0": 100})
    residents = []
    for name, taken in (("a", {"cpu": 100}), ("b", {"cuda:0": 60}), ("c", {"cuda:0": 40, "cpu": 0})):
        accountant.reserve((name, 1), taken)
        accountant.settle((name, 1), taken)
        residents.append(Resident(key=(name, 1), bytes=taken))
    assert names(decide({"cuda:0": 70}, accountant.books(), residents, now=0)) == "bc"


def test_after_measuring_somebody_else_leaves_until_all_are_within_the_budget_again():
    books, (a, b) = holds(100, 50, 70)
    assert names(relieve(books, [a, replace(b, in_use=True)], now=0)) == "a"
    assert relieve(*holds(100, 50, 50), now=0) == Fits()
    assert relieve(*holds(100, 50, 70, leaving="a"), now=0) == Wait("memory is being given back")
    assert impossible({"cpu": 101}, {"cpu": 100}, []) == "needs 101 bytes on cpu; the budget is 100 bytes"


SIZES = st.integers(1, 60)
RESIDENTS = st.lists(
    st.tuples(SIZES, st.booleans(), st.booleans(), st.integers(0, 20), st.booleans()), max_size=7
)


@settings(max_examples=400, deadline=None)
@given(
    facts=RESIDENTS,
    need=st.integers(0, 220),
    load_by=st.none() | st.integers(20, 40),
    min_residency_s=st.integers(0, 30),
)
def test_whoever_follows_every_decision_comes_to_an_end(facts, need, load_by, min_residency_s):
    """Acts out what is decided: who leaves was free to leave and needed, what waits has a reason to."""
    accountant = Accountant({"cpu": 200})
    residents = []
    for number, (size, pinned, in_use, since, is_leaving) in enumerate(facts):
        key = (f"m{number}", 1)
        accountant.settle(accountant.reserve(key, {}), {"cpu": size})
        if is_leaving:
            accountant.leaving(key)
        else:
            residents.append(
                Resident(key=key, bytes={"cpu": size}, pinned=pinned, in_use=in_use, since=float(since))
            )
    now, needs = 20.0, {"cpu": need}
    for _ in range(10 * len(facts) + 10):
        decision = decide(
            needs, accountant.books(), residents, now, min_residency_s=min_residency_s, load_by=load_by
        )
        match decision:
            case Fits():
                accountant.reserve(("new", 1), needs)
                return
            case Refuse():
                pinned = sum(each.bytes["cpu"] for each in residents if each.pinned)
                assert need > 200 - pinned
                return
            case Evict(keys):
                going = [each for each in residents if each.key in keys]
                lacking = need - accountant.free("cpu") - accountant.coming("cpu")
                freed = sum(each.bytes["cpu"] for each in going)
                assert freed >= lacking > freed - min(each.bytes["cpu"] for each in going)
                assert not any(each.pinned or each.in_use for each in going)
                if load_by is None:
                    assert all(now - each.since >= min_residency_s for each in going)
                residents = [each for each in residents if each.key not in keys]
                for key in keys:
                    accountant.leaving(key)
            case Wait(_, until):
                with pytest.raises(OverBudget):
                    accountant.reserve(("new", 1), needs)
                if until is not None:
                    assert until > now
                    now = until
                elif accountant.coming("cpu"):
                    for key in {f"m{number}": number for number in range(len(facts))}:
                        if accountant.held((key, 1)) and (key, 1) not in accountant.residents():
                            accountant.gone((key, 1))
                else:
                    assert any(each.in_use for each in residents)
                    residents = [replace(each, in_use=False) for each in residents]
    raise AssertionError("it goes on for ever")
