import json

from hypothesis import given, settings
from hypothesis import strategies as st

from server.supervisor.journal import LONGEST_LINE, Splitter, labelled
from server.supervisor.plan import Role, Seat

SEAT = Seat(Role.PREDICT, 1)


@settings(max_examples=40)
@given(several=st.lists(st.dictionaries(st.text(), st.integers() | st.text()), min_size=1, max_size=4))
def test_lines_of_json_stay_such_and_lose_nothing(several):
    text = "".join(f"{json.dumps(facts)}\n" for facts in several)
    said = [json.loads(line) for line in labelled(text, SEAT).split("\n")[:-1]]
    assert said == [{"role": "predict", "process": 1} | facts for facts in several]


def test_any_other_line_begins_with_its_process():
    assert labelled("12:00:01 info    server_ready\n", SEAT) == "predict.1 | 12:00:01 info    server_ready\n"
    assert labelled("{'no': 'json'\n", SEAT) == "predict.1 | {'no': 'json'\n"


@given(lines=st.permutations(['{"a":1}', "{}", "words", "", '{"b":"}"} and more']))
def test_lines_of_all_kinds_may_come_together(lines):
    alone = "".join([labelled(f"{line}\n", SEAT) for line in lines])
    assert labelled("".join(f"{line}\n" for line in lines), SEAT) == alone


@settings(max_examples=40)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), data=st.data()
)
def test_lines_are_the_same_however_they_come(lines, data):
    whole = expected = "".join(f"{line}\n" for line in [*lines, "the end"]).encode()
    whole = whole[:-1]
    taken: list[str] = []
    splitter = Splitter(taken.append)
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        splitter.feed(whole[:size])
        whole = whole[size:]
    splitter.end()
    assert "".join(taken).encode() == expected
    assert all(each.endswith("\n") for each in taken)


def test_what_never_ends_a_line_is_not_held_for_ever():
    taken: list[str] = []
    splitter = Splitter(taken.append)
    splitter.feed(b"x" * (LONGEST_LINE + 1))
    assert [len(line) for line in taken] == [LONGEST_LINE + 1], "with the end that it was given"
