"""When a failed version is due again, on a clock that the test turns."""

from server.domain.backoff import BackOff
from server.lifecycle.retries import Retries


class Timers:
    """Holds what is to be called later until the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, object]] = []

    def later(self, wait_s, call) -> None:
        self.waiting.append((wait_s, call))

    def ring(self) -> None:
        _, call = self.waiting.pop(0)
        call()


def retries(timers: Timers) -> Retries:
    return Retries(timers.later, BackOff(first_s=1, most_s=8), chance=lambda: 0.0)


def test_the_same_content_waits_longer_each_time_and_another_begins_anew():
    timers = Timers()
    tries = retries(timers)
    waits = [tries.again("m", 1, content, lambda: None) for content in ("a", "a", "a", "b", "b")]
    assert waits == [1, 2, 4, 1, 2]


def test_a_version_is_called_for_once_when_due():
    timers, calls = Timers(), []
    tries = retries(timers)
    tries.again("m", 1, "a", lambda: calls.append("first"))
    timers.ring()
    assert calls == ["first"]


def test_nobody_is_called_for_what_is_served_or_has_failed_anew_since():
    timers, calls = Timers(), []
    tries = retries(timers)
    tries.again("m", 1, "a", lambda: calls.append("forgotten"))
    tries.forget("m", 1)
    timers.ring()
    tries.again("m", 2, "a", lambda: calls.append("stale"))
    tries.again("m", 2, "b", lambda: calls.append("fresh"))
    timers.ring()
    timers.ring()
    assert calls == ["fresh"]


def test_versions_do_not_count_for_each_other():
    tries = retries(Timers())
    assert [
        tries.again(model, version, "a", lambda: None) for model, version in (("m", 1), ("m", 2), ("n", 1))
    ] == [
        1,
        1,
        1,
    ]
