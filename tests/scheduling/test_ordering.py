"""Answers in the order in which the requests came."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import RequestCancelled
from server.scheduling.ordering import Ordering
from server.scheduling.ticket import Ticket


def give(ticket: Ticket) -> Callable[[], None]:
    return lambda: ticket.answer({}, None)


def joined(ordering: Ordering, count: int) -> tuple[list[Ticket], list[int]]:
    told: list[int] = []
    tickets = [Ticket({}, 1, lambda _, number=number: told.append(number)) for number in range(count)]
    for ticket in tickets:
        ordering.join(ticket)
    return tickets, told


def test_an_answer_waits_for_those_before_it():
    ordering = Ordering()
    (first, second), told = joined(ordering, 2)
    ordering.answer(second, give(second))
    assert told == []
    ordering.answer(first, give(first))
    assert told == [0, 1]


def test_one_that_failed_holds_nobody_up():
    ordering = Ordering()
    (first, second), told = joined(ordering, 2)
    ordering.answer(second, give(second))
    first.fail(RequestCancelled("m"))
    ordering.advance()
    assert told == [0, 1]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_whatever_the_order_of_the_runs_answers_come_in_the_order_of_the_requests(order, failing):
    ordering = Ordering()
    tickets, told = joined(ordering, 8)
    for number in order:
        if number in failing:
            tickets[number].fail(RequestCancelled("m"))
            ordering.advance()
        else:
            ordering.answer(tickets[number], give(tickets[number]))
    answered = [number for number in told if number not in failing]
    assert answered == sorted(answered)
    assert sorted(told) == list(range(8))
