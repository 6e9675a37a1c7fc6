"""Start-time fair queueing: who is next, who gives way, and who is forgotten."""

import heapq
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.shares import Shares

COSTS = st.integers(1, 8)
JOINS = st.tuples(st.just("join"), st.sampled_from("abcdef"), COSTS)
TAKES = st.tuples(st.just("take"), st.just(""), st.just(0))
LEAVES = st.tuples(st.just("leave"), st.sampled_from("abcdef"), st.just(0))


class Line:
    """A queue that takes the lowest tag first, as the batcher's does."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._heap: list[tuple[float, int, str, int]] = []
        self._joined = 0
        self.served: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._heap)

    def join(self, client: str, cost: int) -> float:
        tag = self.shares.tag(client, cost)
        self._joined += 1
        heapq.heappush(self._heap, (tag, self._joined, client, cost))
        return tag

    def take(self) -> str:
        tag, _, client, cost = heapq.heappop(self._heap)
        self.shares.taken(client, tag)
        self.served[client] += cost
        return client

    def leave(self, client: str) -> None:
        """The newest of a client's tickets goes without being run."""
        mine = max((ticket for ticket in self._heap if ticket[2] == client), key=lambda ticket: ticket[1])
        self._heap.remove(mine)
        heapq.heapify(self._heap)
        self.shares.withdrawn(client, mine[3])


@given(
    a=st.lists(COSTS, min_size=20, max_size=60),
    b=st.lists(COSTS, min_size=20, max_size=60),
    others=st.lists(st.one_of(JOINS, TAKES), max_size=40),
)
def test_two_clients_that_both_wait_get_the_same_but_for_one_ticket_of_each(a, b, others):
    """Before, others come and go; meanwhile they come again, so that virtual time moves."""
    line = Line(Shares())
    for what, client, cost in others:
        if what == "join":
            line.join(client, cost)
        elif len(line):
            line.take()
    for client, costs in (("left", a), ("right", b)):
        for cost in costs:
            line.join(client, cost)
    bound = max(a) + max(b)
    ahead = [0]
    more = iter(others)
    while line.shares.waiting("left") and line.shares.waiting("right"):
        what, client, cost = next(more, ("take", "", 0))
        if what == "join":
            line.join(client, cost)
        line.take()
        ahead.append(line.served["left"] - line.served["right"])
    assert max(ahead) - min(ahead) <= bound


@given(costs=st.lists(COSTS, min_size=30, max_size=30))
def test_a_client_that_asks_again_once_it_is_taken_is_not_ahead_of_one_that_queued_much(costs):
    """It has nothing waiting in between, and is not forgotten for that."""
    line = Line(Shares())
    for _ in range(200):
        line.join("much", 1)
    for cost in costs:
        line.join("again", cost)
        while line.take() != "again":
            pass
    assert line.served["much"] >= line.served["again"] - 2 * max(costs)


@given(st.lists(st.one_of(JOINS, TAKES, LEAVES), max_size=120))
def test_whatever_comes_and_goes_the_count_is_right_and_an_empty_line_remembers_nobody(steps):
    line = Line(Shares())
    waiting: Counter[str] = Counter()
    for what, client, cost in steps:
        if what == "join":
            line.join(client, cost)
            waiting[client] += 1
        elif what == "leave" and waiting[client]:
            line.leave(client)
            waiting[client] -= 1
        elif what == "take" and len(line):
            waiting[line.take()] -= 1
        assert [line.shares.waiting(each) for each in "abcdef"] == [waiting[each] for each in "abcdef"]
    while len(line):
        line.take()
    assert len(line.shares) == 0


def test_tags_are_those_of_the_paper():
    shares = Shares()
    assert [shares.tag("a", 2), shares.tag("a", 3), shares.tag("a", 1)] == [0, 2, 5]
    shares.taken("a", 0)
    shares.taken("a", 2)
    assert shares.tag("b", 4) == 2, "a newcomer starts at the tag that was taken last"
    assert shares.tag("b", 1) == 6


def test_a_ticket_that_leaves_gives_back_what_it_would_have_cost():
    shares = Shares()
    assert [shares.tag("a", 5), shares.tag("a", 5)] == [0, 5]
    shares.withdrawn("a", 5)
    assert shares.tag("a", 1) == 5


def test_a_client_whose_one_ticket_leaves_is_not_remembered():
    shares = Shares()
    shares.tag("stays", 1)
    shares.tag("leaves", 1)
    shares.withdrawn("leaves", 1)
    assert len(shares) == 1


def test_a_client_that_was_ahead_starts_anew_once_nobody_waits():
    shares = Shares()
    tag = shares.tag("a", 100)
    shares.taken("a", tag)
    assert len(shares) == 0
    assert shares.tag("a", 1) == shares.tag("b", 1)


def crowded() -> tuple[Shares, list[float]]:
    """One client has nine tickets waiting, with these tags; four came before it and have had their one."""
    shares = Shares(most_resting=4)
    tags = [shares.tag("stays", 1) for _ in range(9)]
    for cost in range(1, 5):
        client = f"cost {cost}"
        shares.taken(client, shares.tag(client, cost))
    assert len(shares) == 5
    return shares, tags


def test_when_too_many_rest_those_that_are_not_ahead_any_more_are_forgotten():
    shares, tags = crowded()
    for tag in tags[:8]:
        shares.taken("stays", tag)
    shares.taken("last", shares.tag("last", 1))
    assert len(shares) == 2
    assert shares.tag("last", 1) == 8


def test_when_too_many_are_ahead_those_that_are_most_ahead_are_remembered():
    shares, _ = crowded()
    shares.taken("cost 5", shares.tag("cost 5", 5))
    assert len(shares) == 3
    assert [shares.tag(f"cost {cost}", 1) for cost in range(1, 6)] == [0, 0, 0, 4, 5]


@given(clients=st.integers(20, 300))
def test_however_many_names_come_few_are_remembered_beside_those_that_wait(clients):
    line = Line(Shares(most_resting=16))
    line.join("stays", 1), line.join("stays", 1)
    for number in range(clients):
        line.join(f"client {number}", 50)
        if number % 3:
            line.take()
    assert len(line.shares) <= 16 + sum(
        bool(line.shares.waiting(client))
        for client in ["stays", *(f"client {number}" for number in range(clients))]
    )


def test_the_client_that_has_most_waiting_gives_way_to_one_that_has_clearly_less():
    shares = Shares()
    assert shares.gives_way("anybody") is None
    for client in "aaabb":
        shares.tag(client, 1)
    assert shares.gives_way("new") == "a"
    assert shares.gives_way("a") is None
    assert shares.gives_way("b") is None, "it would only change places with a"


@given(
    asks=st.lists(st.sampled_from("abcd"), min_size=1, max_size=150),
    places=st.integers(4, 20),
)
def test_a_full_queue_is_shared_evenly_by_all_who_keep_asking(asks, places):
    """A flood fills it; then everybody asks until refused, in any order."""
    shares = Shares()
    held: Counter[str] = Counter({"flood": places})
    for _ in range(places):
        shares.tag("flood", 1)

    def ask(client: str) -> None:
        loser = shares.gives_way(client)
        if loser is None:
            return
        shares.withdrawn(loser, 1)
        held[loser] -= 1
        shares.tag(client, 1)
        held[client] += 1

    for client in [*asks, *sorted({*asks}) * places]:
        ask(client)
    assert held.total() == places
    those = [held[client] for client in {*asks, "flood"}]
    assert max(those) - min(those) <= 1


@pytest.mark.parametrize("cost", [0.5, 3])
def test_a_cost_may_be_a_time_as_well_as_rows(cost):
    shares = Shares()
    assert [shares.tag("a", cost), shares.tag("a", cost)] == [0, cost]
