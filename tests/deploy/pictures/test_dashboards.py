"""The dashboards as Grafana would read them, without a server."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.dashboards.grafana import COLUMNS, DATASOURCE, Dashboard, Panel, Query, Row
from deploy.dashboards.written import DASHBOARDS, FOLDER, written
from tests.deploy.pictures.asked import ALERTS

READ = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))}

UNITS = {"none", "s", "bytes", "Bps", "percentunit", "reqps", "ops"}
"""Of Grafana's, those that are in use: a slip of the pen would show plain numbers."""


def test_what_is_committed_is_what_is_made():
    kept = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}
    assert kept == written(), "run: make dashboards"


def test_the_chart_has_nothing_but_dashboards_and_rules_of_ours():
    assert ALERTS.parent == FOLDER.parent


def test_no_two_dashboards_have_the_same_name_or_address():
    assert len({each.uid for each in DASHBOARDS}) == len({each.title for each in DASHBOARDS}) == len(READ)


@pytest.mark.parametrize("name", READ)
def test_a_dashboard_is_one_that_grafana_reads(name):
    dashboard = READ[name]
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["uid"] == name.removesuffix(".json")
    assert len(dashboard["uid"]) <= 40
    assert "id" not in dashboard
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"]) == ("datasource", "datasource")
    assert all(other["datasource"] == DATASOURCE for other in others)


@pytest.mark.parametrize("name", READ)
def test_every_panel_says_what_it_shows_in_what_unit_and_from_where(name):
    titles = set()
    for panel in READ[name]["panels"]:
        assert panel["title"] not in titles
        titles.add(panel["title"])
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
            assert panel["datasource"] == DATASOURCE
            assert panel["targets"]
            assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def overlapping(dashboard) -> list[tuple[str, str]]:
    def lie_over_each_other(a, b) -> bool:
        return (
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        )

    return [
        (one["title"], other["title"])
        for one, other in combinations(dashboard["panels"], 2)
        if lie_over_each_other(one["gridPos"], other["gridPos"])
    ]


@pytest.mark.parametrize("name", READ)
def test_no_panel_lies_over_another_or_sticks_out(name):
    assert overlapping(READ[name]) == []
    for panel in READ[name]["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS


@pytest.mark.parametrize("name", READ)
def test_a_line_of_panels_is_filled(name):
    filled: dict[int, int] = {}
    for panel in READ[name]["panels"]:
        place = panel["gridPos"]
        filled[place["y"]] = filled.get(place["y"], 0) + place["w"]
    assert set(filled.values()) == {COLUMNS}


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, COLUMNS), st.sampled_from(["stat", "timeseries"])), max_size=9),
        max_size=4,
    )
)
def test_panels_of_any_width_and_height_find_places_of_their_own(rows):
    dashboard = Dashboard(
        uid="any",
        title="Any",
        about="",
        rows=[
            Row(str(at), [panel(f"{at} {nth}", *form) for nth, form in enumerate(row)])
            for at, row in enumerate(rows)
        ],
    ).json()
    assert overlapping(dashboard) == []
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= COLUMNS for each in dashboard["panels"])
    assert len(dashboard["panels"]) == len(rows) + sum(map(len, rows))


def panel(title, width, kind) -> Panel:
    return Panel(title=title, about="", unit="s", width=width, kind=kind, queries=[Query("up")])
