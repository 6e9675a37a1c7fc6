import json

from hypothesis import given, settings
from hypothesis import strategies as st

from server.supervisor.journal import LONGEST_LINE, Splitter, labelled
from server.supervisor.plan import Role, Seat

SEAT = Seat(Role.PREDICT, 1)


@settings(max_examples=40)
@given(facts=st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_line_of_json_stays_one_and_loses_nothing(facts):
    said = json.loads(labelled(json.dumps(facts), SEAT))
    assert said == {"role": "predict", "process": 1} | facts


def test_any_other_line_begins_with_its_process():
    assert labelled("12:00:01 info    server_ready", SEAT) == "predict.1 | 12:00:01 info    server_ready"
    assert labelled("{'no': 'json'", SEAT) == "predict.1 | {'no': 'json'"


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), data=st.data()
)
def test_lines_are_the_same_however_they_come(lines, data):
    whole = "".join(f"{line}\n" for line in lines).encode() + b"the end"
    taken: list[str] = []
    splitter = Splitter(taken.append)
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        splitter.feed(whole[:size])
        whole = whole[size:]
    splitter.end()
    assert taken == [*lines, "the end"]


def test_what_never_ends_a_line_is_not_held_for_ever():
    taken: list[str] = []
    splitter = Splitter(taken.append)
    splitter.feed(b"x" * (LONGEST_LINE + 1))
    assert [len(line) for line in taken] == [LONGEST_LINE]
