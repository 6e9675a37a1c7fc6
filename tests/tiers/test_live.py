from hypothesis import given
from hypothesis import strategies as st

from server.domain.state import UNLOADED, State
from server.tiers.live import Judgement, Live, able, is_leaving, judge, leaving
from tests.tiers.standings import ALL, every, report, standing

KEY = ("m", 1)
LOADING, UNAVAILABLE = State.LOADING, State.UNAVAILABLE


def asked(standings, before=None, tiers=ALL) -> Judgement:
    return judge(KEY, standings, tiers, before)


def live(content: str, **facts) -> Live:
    return Live(content=content, stages=ALL, **facts)


def test_a_version_is_live_once_every_stage_has_a_process_that_is_ready_for_it():
    judged = asked(every(report("A")))
    assert judged.live == live("A")
    assert (judged.status.state, judged.status.reason) == (State.READY, "")


def test_a_version_that_one_tier_lacks_is_not_live_and_the_index_names_the_tier():
    judged = asked([standing("pre", report("A")), standing("predict"), standing("post", report("A"))])
    assert judged.live is None
    assert (judged.status.state, judged.status.reason) == (
        LOADING,
        "the predict tier does not have it yet",
    )


def test_a_version_that_one_tier_still_loads_is_loading():
    loads = standing("predict", report("A", LOADING))
    judged = asked([standing("pre", report("A")), loads, standing("post", report("A"))])
    assert judged.live is None
    assert (judged.status.state, judged.status.reason) == (LOADING, "the predict tier is still loading it")


def test_what_a_tier_says_of_its_failure_is_passed_on():
    fails = standing("predict", report("", UNAVAILABLE, stages=(), reason="there is no op Foo"))
    judged = asked([standing("pre", report("A")), fails, standing("post", report("A"))])
    assert (judged.status.state, judged.status.reason) == (
        UNAVAILABLE,
        "the predict tier says: there is no op Foo",
    )


def test_a_process_that_takes_no_requests_makes_nothing_live():
    leaves = standing("predict", report("A"), ready=False)
    judged = asked([standing("pre", report("A")), leaves, standing("post", report("A"))])
    assert judged.live is None
    assert judged.status.reason == "the predict tier is not ready yet, or about to leave"


def test_a_stage_that_a_version_does_not_have_is_not_asked_for():
    judged = asked([standing("predict", report("A", stages=("predict",)))], tiers=("predict",))
    assert judged.live == Live(content="A", stages=("predict",))


def test_tiers_with_different_contents_are_never_mixed():
    judged = asked([standing("pre", report("A")), *(standing(tier, report("B")) for tier in ALL[1:])])
    assert judged.live is None
    assert judged.status.reason == "the pre tier has other content of it"


def test_a_version_stays_what_it_was_until_all_tiers_have_what_follows():
    old, new = report("A"), report("B")
    standings = [*every(old), standing("pre", new), standing("predict", new)]
    assert asked(standings, live("A")).live.content == "A"
    standings.append(standing("post", new))
    assert asked(standings, live("A")).live.content == "B"


def test_what_was_live_before_does_not_come_back_in_the_middle_of_a_rollout():
    standings = [*every(report("A")), *every(report("B"))]
    first = asked(standings, live("A")).live
    assert first.content == "B"
    assert asked(standings, first).live == first


def test_what_was_live_before_is_forgotten_as_soon_as_nobody_has_it():
    assert asked(every(report("B")), live("A")).live == live("B")


def test_what_was_live_before_comes_back_once_the_tiers_have_gone_back_to_it():
    back = [*every(report("A")), standing("pre", report("B")), standing("post", report("B"))]
    assert asked(back, live("B", passed=frozenset({"A"}))).live.content == "A"


def test_a_tier_that_is_away_leaves_a_version_live_and_says_what_it_lacks():
    judged = asked([standing("pre", report("A")), standing("post", report("A"))], live("A"))
    assert judged.live == live("A", lacks="predict")
    assert judged.status.state is UNAVAILABLE
    assert judged.status.reason == "the predict tier has no endpoint that answers"


def test_a_tier_that_starts_again_has_nothing_yet_and_takes_nothing_away():
    standings = [
        standing("pre", report("A")),
        standing("predict", ready=False),
        standing("post", report("A")),
    ]
    judged = asked(standings, live("A"))
    assert judged.live == live("A", lacks="predict")
    assert judged.status.reason == "the predict tier is not ready yet, or about to leave"


def test_a_version_that_a_tier_has_no_more_is_live_no_more():
    standings = [standing("pre", report("A")), standing("predict"), standing("post", report("A"))]
    assert asked(standings, live("A")).live is None


def test_a_tier_nobody_has_named_is_told_with_its_option():
    judged = asked([standing("predict", report("A"))], tiers=("predict",))
    assert judged.status.reason == "the pre tier is not known here: name its endpoints with --pre-endpoints"


def test_a_version_that_was_unloaded_everywhere_is_unavailable_for_that_reason():
    gone = report("", UNAVAILABLE, stages=(), reason=UNLOADED)
    going = report("", State.UNLOADING, stages=())
    judged = asked([*every(gone), standing("predict", going)], live("A"))
    assert judged.live is None
    assert (judged.status.state, judged.status.reason) == (UNAVAILABLE, UNLOADED)


def test_a_version_that_nobody_speaks_of_has_no_line():
    assert asked([standing(tier) for tier in ALL], live("A")) == Judgement(live=None, status=None)


def test_an_ensemble_is_live_by_the_word_of_the_predict_tier():
    word = report("E", stages=(), platform="ensemble")
    assert asked([standing("predict", word)]).live == Live(content="E", stages=())
    assert asked([standing("pre", word), standing("predict")]).live is None


def test_what_was_live_before_is_live_again_once_its_successor_was_taken_back_anywhere():
    back = standing("predict", report("A", taken_back="B", reason="rolled back: it fails"), address="a:1")
    standings = [standing("pre", report("A")), back, standing("post", report("A")), *every(report("B"))]
    assert asked(standings, live("B", passed=frozenset({"A"}))).live == live("A")


def test_a_version_that_was_taken_back_says_why():
    failed = report("B", UNAVAILABLE, taken_back="B", reason="rolled back: it fails")
    judged = asked([standing("predict", failed), *every(report("B"))], live("B"))
    assert judged.live is None
    assert judged.status.reason == "the predict tier says: rolled back: it fails"


def test_a_version_is_leaving_once_a_tier_has_it_from_nobody_who_stays():
    stays, leaves = report("A"), report("A", leaving=True)
    one = [standing("predict", leaves, address="a:1"), standing("predict", stays, address="a:2")]
    only = Live(content="A", stages=("predict",))
    assert not is_leaving(KEY, only, one)
    assert [each.address for each in leaving(KEY, only, one)] == ["a:1"]
    assert is_leaving(KEY, only, one[:1])
    assert not is_leaving(KEY, only, [])


# The laws.

REPORTS = st.builds(
    report,
    st.sampled_from("ABC"),
    st.sampled_from([State.READY, State.READY, LOADING, State.UNLOADING]),
)
PROCESSES = st.builds(
    lambda stage, said, ready: standing(stage, *([said] if said else []), ready=ready),
    st.sampled_from(ALL),
    st.none() | REPORTS,
    st.sampled_from([True, True, True, False]),
)
TIERS = st.lists(PROCESSES, max_size=9)


def holders(standings, content):
    able_now = [each.stage for each in standings if able(each, KEY, content) is not None]
    return [able_now.count(tier) for tier in ALL]


def is_gone(standings, content):
    """Some tier that takes requests neither has it nor is about to."""
    return any(
        any(each.ready for each in own)
        and all(
            KEY not in each.versions
            or each.versions[KEY].content != content
            or each.versions[KEY].state not in (State.READY, LOADING)
            for each in own
        )
        for own in ([each for each in standings if each.stage == tier] for tier in ALL)
    )


@given(st.lists(TIERS, max_size=6))
def test_what_goes_live_is_ready_in_all_its_tiers_and_stays_until_there_is_reason(history):
    before = None
    for standings in history:
        judged = asked(standings, before)
        now = judged.live
        if now is not None and (before is None or now.content != before.content):
            assert all(holders(standings, now.content))
        if before is not None and now is None:
            assert is_gone(standings, before.content)
        if before is not None and now is not None and now.content != before.content:
            assert is_gone(standings, before.content) or now.content not in before.passed
        before = now


@given(st.lists(TIERS, max_size=6))
def test_nothing_goes_to_and_fro_while_the_tiers_stand_still(history):
    before = None
    for standings in history:
        before = asked(standings, before).live
        assert asked(standings, before).live == before


@given(TIERS)
def test_what_all_tiers_are_ready_for_is_never_withheld(standings):
    if any(all(holders(standings, content)) for content in "ABC"):
        assert asked(standings).live is not None


@given(
    TIERS, TIERS, st.sets(st.sampled_from("ABC"), min_size=1), st.none() | st.sampled_from("ABC").map(live)
)
def test_what_one_process_has_taken_back_is_live_in_none(first, standings, contents, before):
    failed = [standing("predict", report("", UNAVAILABLE, taken_back=each, reason="no")) for each in contents]
    history = [first, [*standings, *failed]]
    for each in history:
        before = asked(each, before).live
    assert before is None or before.content not in contents
    if any(all(holders(standings, content)) for content in {*"ABC"} - contents):
        assert before is not None


@given(TIERS, st.none() | st.sampled_from("ABC").map(live))
def test_what_was_taken_back_of_another_content_changes_nothing(standings, before):
    elsewhere = standing("predict", report("", UNAVAILABLE, taken_back="Z", reason="no"), ready=False)
    beside = standing("predict", report("", UNAVAILABLE, reason="no"), ready=False)
    assert asked([*standings, elsewhere], before).live == asked([*standings, beside], before).live


@given(TIERS, st.none() | st.sampled_from("ABC").map(live))
def test_a_line_is_ready_if_requests_can_be_answered_and_else_gives_a_reason(standings, before):
    judged = asked(standings, before)
    if judged.live is not None and judged.live.lacks is None:
        assert all(holders(standings, judged.live.content))
        assert (judged.status.state, judged.status.reason) == (State.READY, "")
    elif judged.status is not None:
        assert judged.status.state is not State.READY
        goes = judged.status.reason == UNLOADED
        assert goes or any(f"the {tier} tier" in judged.status.reason for tier in ALL)


@given(TIERS, st.none() | st.sampled_from("ABC").map(live))
def test_a_stage_is_lacking_just_when_nobody_is_ready_for_it(standings, before):
    now = asked(standings, before).live
    if now is not None:
        counts = dict(zip(ALL, holders(standings, now.content), strict=True))
        assert now.lacks == next((tier for tier in ALL if not counts[tier]), None)
