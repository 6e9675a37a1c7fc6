"""Who serves what: the one place where a request finds its version."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.domain.errors import ModelNotFound, ModelNotReady, VersionMalformed
from server.domain.state import LEGAL, UNLOADED, IllegalMove, State, Status
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from tests.lifecycle.shelf import Shelf

WAYS = {
    State.UNKNOWN: (),
    State.LOADING: (State.LOADING,),
    State.READY: (State.LOADING, State.READY),
    State.UNLOADING: (State.LOADING, State.READY, State.UNLOADING),
    State.UNAVAILABLE: (State.LOADING, State.UNAVAILABLE),
}
"""How a version comes to each state."""


Make = Callable[[int], ServedVersion]


@pytest.fixture
def served(tmp_path: Path) -> Make:
    """Makes versions of the model m, as real as can be."""
    shelf, loader = Shelf(tmp_path / "m"), Loader(cpu_budget=1, max_queue_size=1)

    def make(number: int) -> ServedVersion:
        version = shelf.put(number)
        return loader.assemble(
            loader.load(shelf.offer(version), version, models=1), Content(version.fingerprint)
        )

    return make


def noted(table: Table, version: int, *states: State, reason: str = "") -> None:
    for state in states:
        table.note(Status("m", version, state, reason))


async def test_no_version_means_the_highest_that_serves(served):
    table = Table()
    for number in (2, 10, 9):
        table.serve(served(number))
    assert table.find("m", "").facts.version == 10
    assert table.find("m", "9").facts.version == 9
    table.withdraw("m", 10)
    assert table.find("m", "").facts.version == 9


async def test_a_version_may_be_written_with_leading_zeros(served):
    table = Table()
    one = served(1)
    table.know("m")
    table.serve(one)
    assert table.find("m", "001") is one


async def test_a_swap_is_one_step_and_gives_the_old_one_back(served):
    table = Table()
    old, new = served(1), served(1)
    assert table.serve(old) is None
    assert table.serve(new) is old
    assert table.find("m", "") is table.find("m", "1") is new


async def test_a_withdrawn_version_comes_back_once_and_is_found_no_more(served):
    table = Table()
    one = served(1)
    table.know("m")
    table.serve(one)
    assert table.withdraw("m", 1) is one
    assert table.withdraw("m", 1) is None
    assert table.versions("m") == {}
    with pytest.raises(ModelNotFound, match=r"^Request for unknown model: 'm' has no available versions$"):
        table.find("m", "")


def test_a_name_that_no_repository_has_is_unknown():
    with pytest.raises(ModelNotFound, match=r"^Request for unknown model: 'm' is not found$"):
        Table().find("m", "")


def test_who_has_not_heard_of_everything_yet_calls_nothing_unknown():
    lacking = "the predict tier has no endpoint that answers"
    table = Table(unheard=lambda: lacking)
    table.know("known")
    for model in ("m", "known"):
        with pytest.raises(ModelNotReady, match=f"^model '{model}' is not known here yet: the predict tier"):
            table.find(model, "")
    lacking = ""
    with pytest.raises(ModelNotFound):
        table.find("m", "")


def test_a_version_that_was_never_seen_is_not_found():
    table = Table()
    table.know("m")
    with pytest.raises(ModelNotFound, match=r"'m' version 7 is not found$"):
        table.find("m", "7")


@pytest.mark.parametrize("version", ["canary", "1.0", "-1", "²", " "])
def test_a_version_that_is_no_number_is_the_callers_fault(version):
    table = Table()
    table.know("m")
    with pytest.raises(VersionMalformed, match="failed to get model version from specified version string"):
        table.find("m", version)


def test_while_the_first_version_loads_the_model_is_not_ready_rather_than_unknown():
    table = Table()
    noted(table, 3, State.LOADING)
    with pytest.raises(ModelNotReady, match="'m' is still loading version 3"):
        table.find("m", "")
    with pytest.raises(ModelNotReady, match=r"'m' version 3 is not at ready state: LOADING$"):
        table.find("m", "3")


def test_a_broken_version_is_refused_with_its_reason_and_an_unloaded_one_is_gone():
    table = Table()
    noted(table, 1, State.UNAVAILABLE, reason="it is no model")
    with pytest.raises(ModelNotReady, match=r"version 1 .* UNAVAILABLE \(it is no model\)$"):
        table.find("m", "1")
    noted(table, 1, State.UNAVAILABLE, reason=UNLOADED)
    with pytest.raises(ModelNotFound, match=r"'m' version 1 has been unloaded$"):
        table.find("m", "1")


def test_the_index_has_a_line_per_version_once_something_was_tried_else_one_per_model():
    table = Table()
    table.know("untried")
    table.know("faulty", Status("faulty", None, State.UNAVAILABLE, "in two repositories"))
    noted(table, 10, State.LOADING)
    noted(table, 9, State.UNAVAILABLE, reason="broken")
    assert [(line.model, line.version, line.state, line.reason) for line in table.index()] == [
        ("faulty", None, State.UNAVAILABLE, "in two repositories"),
        ("m", 9, State.UNAVAILABLE, "broken"),
        ("m", 10, State.LOADING, ""),
        ("untried", None, State.UNKNOWN, ""),
    ]


def test_what_is_dropped_or_forgotten_leaves_the_index():
    table = Table()
    noted(table, 1, State.LOADING)
    noted(table, 2, State.LOADING)
    table.drop("m", 1)
    assert [line.version for line in table.index()] == [2]
    table.forget("m")
    assert table.index() == []
    assert table.models == []


@pytest.mark.parametrize(("before", "after"), [(before, after) for before in State for after in State])
def test_a_version_goes_where_the_table_of_moves_lets_it_and_nowhere_else(before, after):
    table = Table()
    noted(table, 1, *WAYS[before])
    if after in LEGAL[before]:
        noted(table, 1, after)
        assert table.statuses("m")[1].state is after
    else:
        with pytest.raises(IllegalMove, match=f"m version 1: {before} to {after}"):
            noted(table, 1, after)
        assert [status.state for status in table.statuses("m").values()] == [*WAYS[before][-1:]]


async def test_a_label_leads_to_its_version_and_moves_in_one_step(served):
    table = Table()
    table.know("m")
    one, two = served(1), served(2)
    for version in (one, two):
        table.serve(version)
    table.label("m", {"stable": 1})
    assert table.find("m", "stable") is one
    table.label("m", {"stable": 2, "old": 1})
    assert (table.find("m", "stable"), table.find("m", "old")) == (two, one)
    table.label("m", {})
    with pytest.raises(VersionMalformed):
        table.find("m", "stable")


async def test_a_label_follows_its_number_to_new_content(served):
    table = Table()
    table.label("m", {"stable": 1})
    table.serve(served(1))
    swapped = served(1)
    table.serve(swapped)
    assert table.find("m", "stable") is swapped


async def test_a_label_of_a_version_that_does_not_serve_says_so(served):
    table = Table()
    table.know("m")
    table.label("m", {"canary": 2, "stable": 1, "next": 3})
    table.serve(served(2))
    table.withdraw("m", 2)
    noted(table, 1, State.LOADING, State.UNAVAILABLE, reason="its file is broken")
    noted(table, 2, *WAYS[State.UNAVAILABLE], reason=UNLOADED)
    with pytest.raises(ModelNotFound, match="label 'canary' is on version 2, which has left"):
        table.find("m", "canary")
    with pytest.raises(
        ModelNotReady, match=r"'stable' is on version 1, .* UNAVAILABLE \(its file is broken\)"
    ):
        table.find("m", "stable")
    with pytest.raises(ModelNotFound, match="label 'next' is on version 3, which has left"):
        table.find("m", "next")


async def test_an_unknown_label_names_those_that_there_are():
    table = Table()
    table.know("m")
    table.label("m", {"stable": 1, "canary": 2})
    with pytest.raises(ModelNotFound, match="label 'cannary' is not found; there are canary, stable"):
        table.find("m", "cannary")
