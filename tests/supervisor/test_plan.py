import pytest

from server.supervisor.plan import DRAINED, Plan, PlanInvalid, Ports, Role, Seat, counts

HERE = "127.0.0.1"
PORTS = {
    Role.GATEWAY: Ports("0.0.0.0", 8000, 8001),
    Role.PRE: Ports(HERE, 9000, 9001),
    Role.PREDICT: Ports(HERE, 9002, 9003),
    Role.POST: Ports(HERE, 9004, 9005),
}


def given(words: list[str], flag: str) -> str | None:
    return next((word.partition("=")[2] for word in words if word.startswith(f"{flag}=")), None)


@pytest.mark.parametrize(
    ("asked", "processors", "there_are"),
    [
        ({}, 1, {Role.GATEWAY: 1, Role.PRE: 1, Role.PREDICT: 1, Role.POST: 1}),
        ({}, 16, {Role.GATEWAY: 4, Role.PRE: 8, Role.PREDICT: 1, Role.POST: 1}),
        ({Role.PREDICT: 2}, 16, {Role.GATEWAY: 1, Role.PRE: 1, Role.PREDICT: 2, Role.POST: 1}),
        ({Role.PRE: 0, Role.POST: 0}, 4, {Role.GATEWAY: 1, Role.PREDICT: 1}),
        ({Role.ALL: 3}, 4, {Role.ALL: 3}),
        ({Role.ALL: 3, Role.PRE: 0}, 4, {Role.ALL: 3}),
    ],
)
def test_counts_that_are_not_named_are_sensible(asked, processors, there_are):
    assert counts(asked, processors) == there_are


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({Role.ALL: 2, Role.PRE: 1}, "--all has every stage in each process: it cannot stand beside --pre"),
        ({Role.PREDICT: 0}, "--predict=0 leaves nobody to do that part: every request needs it"),
        ({Role.GATEWAY: 257}, "--gateway=257: must be a whole number from 0 to 256"),
    ],
)
def test_counts_that_make_no_fleet_are_refused_in_a_sentence(asked, sentence):
    with pytest.raises(PlanInvalid) as caught:
        counts(asked, 4)
    assert str(caught.value) == sentence


def test_each_role_is_told_of_the_tiers_that_it_asks_and_of_no_others():
    plan = Plan(count=dict.fromkeys(PORTS, 1), ports=PORTS, repositories=["models"])
    told = {
        role: {
            asked: given(plan.arguments(Seat(role, 0), 7), f"--{asked}-endpoints")
            for asked in (Role.PRE, Role.PREDICT, Role.POST)
        }
        for role in PORTS
    }
    pre, predict, post = (f"{HERE}:{port}" for port in (9001, 9003, 9005))
    assert told == {
        Role.GATEWAY: {Role.PRE: pre, Role.PREDICT: predict, Role.POST: post},
        Role.PRE: {Role.PRE: None, Role.PREDICT: predict, Role.POST: None},
        Role.PREDICT: {Role.PRE: None, Role.PREDICT: None, Role.POST: post},
        Role.POST: {Role.PRE: None, Role.PREDICT: None, Role.POST: None},
    }


def test_a_tier_that_is_left_out_is_asked_by_nobody():
    ports = {role: PORTS[role] for role in (Role.GATEWAY, Role.PREDICT)}
    plan = Plan(count=dict.fromkeys(ports, 1), ports=ports)
    assert given(plan.arguments(Seat(Role.GATEWAY, 0), 7), "--pre-endpoints") is None
    assert given(plan.arguments(Seat(Role.PREDICT, 0), 7), "--post-endpoints") is None


def test_a_gateway_needs_no_repository_and_a_whole_server_no_role():
    plan = Plan(count=dict.fromkeys(PORTS, 1), ports=PORTS, repositories=["models"])
    assert "models" not in plan.arguments(Seat(Role.GATEWAY, 0), 7)
    assert plan.arguments(Seat(Role.PREDICT, 0), 7)[:2] == ["serve", "models"]
    whole = Plan(count={Role.ALL: 1}, ports={Role.ALL: PORTS[Role.GATEWAY]}, repositories=["models"])
    assert given(whole.arguments(Seat(Role.ALL, 0), 7), "--role") is None


def test_processes_that_run_models_share_the_processors():
    def threads(role: Role, count: int, **options) -> str | None:
        plan = Plan(count={role: count}, ports={role: Ports(HERE, 1, 2)}, processors=8, **options)
        return given(plan.arguments(Seat(role, 0), 7), "--cpu-threads")

    assert threads(Role.ALL, 4) == "2"
    assert threads(Role.PREDICT, 16) == "1"
    assert threads(Role.ALL, 1) is None, "it finds out by itself"
    assert threads(Role.ALL, 4, options={"--cpu-threads": ["3"]}) == "3"


def test_every_role_has_a_place_in_both_orders():
    plan = Plan(count=dict.fromkeys(Role, 1), ports={})
    assert sorted(seat.role for seat in plan.seats()) == sorted(DRAINED) == sorted(Role)


def test_an_address_of_ipv6_is_an_endpoint_too():
    assert Ports("::1", 1, 2).endpoint == "[::1]:2"
