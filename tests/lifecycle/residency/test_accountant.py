"""The books of memory: nothing is promised twice, and at the end nothing is owed."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from server.lifecycle.residency.accountant import Accountant, IllegalEntry, OverBudget

MIB = 2**20
A, B = ("a", 1), ("b", 1)
BUDGETS = {"cpu": 100, "cuda:0": 60}


def test_what_does_not_fit_is_refused_with_the_arithmetic_and_changes_nothing():
    books = Accountant({"cpu": 1000 * MIB})
    books.reserve(A, {"cpu": 300 * MIB})
    books.settle(A, {"cpu": 350 * MIB})
    books.reserve(B, {"cpu": 100 * MIB})
    before = books.books()
    with pytest.raises(OverBudget) as refused:
        books.reserve(("c", 2), {"cuda:0": 1, "cpu": 600 * MIB})
    assert str(refused.value) == (
        "needs 600 MiB on cpu; the budget is 1000 MiB, of which 350 MiB are taken "
        "and 100 MiB are reserved for loads under way"
    )
    assert books.books() == before


def test_what_is_being_given_back_is_counted_until_it_is_gone():
    books = Accountant({"cpu": 100})
    books.reserve(A, {"cpu": 80})
    books.settle(A, {"cpu": 80})
    books.leaving(A)
    assert (books.free("cpu"), books.coming("cpu"), books.residents()) == (20, 80, {})
    with pytest.raises(OverBudget, match="80 bytes are still being given back"):
        books.reserve(B, {"cpu": 50})
    books.gone(A)
    assert (books.free("cpu"), books.coming("cpu"), books.held(A)) == (100, 0, {})


def test_a_load_that_fails_gives_back_what_was_reserved_for_it():
    books = Accountant({"cpu": 100})
    books.reserve(A, {"cpu": 100})
    books.gone(A)
    assert books.free("cpu") == 100


def test_what_measuring_found_beyond_the_promise_is_over_until_somebody_leaves():
    books = Accountant({"cpu": 100})
    books.reserve(A, {"cpu": 50})
    books.reserve(B, {"cpu": 50})
    books.settle(A, {"cpu": 70})
    assert (books.over("cpu"), books.free("cpu")) == (20, -20)
    books.reserve(("c", 1), {"cuda:0": 5, "cpu": 0})  # needs nothing there
    books.leaving(A)
    assert (books.over("cpu"), books.free("cpu")) == (0, -20)


def test_a_device_without_a_budget_has_no_limit():
    books = Accountant({"cpu": 1})
    books.reserve(A, {"cuda:0": 2**50})
    assert (books.free("cuda:0"), books.over("cuda:0")) == (float("inf"), 0)


def test_a_version_and_its_successor_by_the_same_number_are_told_apart_by_their_holdings():
    books = Accountant({"cpu": 100})
    old = books.reserve(A, {"cpu": 40})
    books.settle(A, {"cpu": 40})
    new = books.reserve(A, {"cpu": 50})
    with pytest.raises(IllegalEntry):
        books.gone(A)
    books.settle(new, {"cpu": 45})
    assert (books.held(A), books.held(new)) == ({"cpu": 85}, {"cpu": 45})
    books.leaving(old)
    books.gone(old)
    assert books.residents() == {A: {"cpu": 45}}


@pytest.mark.parametrize("move", ["settle", "leaving", "gone"])
def test_nothing_is_done_with_what_was_never_reserved(move):
    books = Accountant({})
    with pytest.raises(IllegalEntry):
        getattr(books, move)(A, *([{}] if move == "settle" else []))


def test_bytes_are_never_negative():
    with pytest.raises(IllegalEntry):
        Accountant({}).reserve(A, {"cpu": -1})


NEEDS = st.dictionaries(st.sampled_from(["cpu", "cuda:0", "cuda:1"]), st.integers(0, 50))
KEYS = st.tuples(st.sampled_from("abc"), st.integers(1, 2))


class Bookkeeping(RuleBasedStateMachine):
    """Any order of legal moves, against a plain list of what each holding takes."""

    reserved, loaded, leaving = Bundle("reserved"), Bundle("loaded"), Bundle("leaving")

    def __init__(self):
        super().__init__()
        self.accountant = Accountant(BUDGETS)
        self.taken = {}
        self.promised = {}

    @rule(target=reserved, key=KEYS, needs=NEEDS)
    def reserve(self, key, needs):
        fits = all(not need or need <= self.free(device) for device, need in needs.items())
        try:
            holding = self.accountant.reserve(key, needs)
        except OverBudget:
            assert not fits
            return multiple()
        assert fits
        self.taken[holding] = self.promised[holding] = needs
        return holding

    @rule(target=loaded, holding=consumes(reserved), measured=NEEDS)
    def settle(self, holding, measured):
        self.measured(holding, measured)
        return holding

    @rule(holding=loaded, measured=NEEDS)
    def settle_again(self, holding, measured):
        self.measured(holding, measured)

    @rule(target=leaving, holding=consumes(loaded))
    def leave(self, holding):
        self.accountant.leaving(holding)
        return holding

    @rule(holding=consumes(leaving))
    def is_back(self, holding):
        self.gone(holding)

    @rule(holding=consumes(reserved))
    def fails(self, holding):
        self.gone(holding)

    @rule(holding=consumes(loaded))
    def goes_at_once(self, holding):
        self.gone(holding)

    def gone(self, holding):
        self.accountant.gone(holding)
        del self.taken[holding], self.promised[holding]

    def measured(self, holding, measured):
        """What it did not take of its promise others may have had since."""
        self.accountant.settle(holding, measured)
        self.taken[holding] = measured
        kept = self.promised[holding]
        self.promised[holding] = {d: min(measured.get(d, 0), kept.get(d, 0)) for d in BUDGETS}

    def free(self, device):
        return BUDGETS.get(device, float("inf")) - sum(each.get(device, 0) for each in self.taken.values())

    @invariant()
    def keeps_within_the_budget_but_for_what_measuring_found(self):
        for device, budget in BUDGETS.items():
            found = sum(
                max(0, taken.get(device, 0) - self.promised[holding].get(device, 0))
                for holding, taken in self.taken.items()
            )
            counted = self.accountant.books().counted.get(device, 0)
            assert counted <= budget + found
            assert self.accountant.free(device) == self.free(device) == budget - counted

    def teardown(self):
        for holding in list(self.taken):
            self.accountant.gone(holding)
        assert {device: self.accountant.free(device) for device in BUDGETS} == BUDGETS
        assert not self.accountant.books().counted


Bookkeeping.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_the_books_balance_whatever_happens = Bookkeeping.TestCase
