"""Which models of a repository a server is for."""

import pytest

from server.repository.override import OverrideInvalid, override
from server.repository.scanner import Scanner
from server.repository.selection import Selection


def test_without_patterns_every_model_is_admitted():
    assert Selection().admits("fraud")


def test_a_model_must_match_an_included_pattern_and_no_excluded_one():
    selection = Selection(include=("fraud-*", "digits"), exclude=("*-old",))
    admitted = [
        name for name in ("fraud-eu", "fraud-old", "digits", "Digits", "iris") if selection.admits(name)
    ]
    assert admitted == ["fraud-eu", "digits"]


def test_two_servers_over_one_repository_serve_disjoint_sets(repository, clock):
    for name in ("a1", "a2", "b1"):
        repository.put(name)

    def offered(selection: Selection) -> set[str]:
        scanner = Scanner(
            [repository.path], selection=selection, clock=clock.monotonic, wall_clock=clock.wall
        )
        return set(scanner.scan().offers)

    assert offered(Selection(include=("a*",))) == {"a1", "a2"}
    assert offered(Selection(exclude=("a*",))) == {"b1"}


def test_a_model_that_is_not_enabled_is_not_offered_until_it_is(repository, scanner, clock):
    off = 'parameters { key: "tercet.enabled" value { string_value: "false" } }'
    repository.put("m", config=off)
    repository.put("n")
    assert set(scanner.scan().offers) == {"n"}
    (repository.path / "m/config.pbtxt").write_text("max_batch_size: 8")
    scanner.scan()
    clock.s += 1.1
    assert set(scanner.scan().offers) == {"m", "n"}
    (repository.path / "m/config.pbtxt").write_text(off)
    scanner.scan()
    clock.s += 1.1
    assert set(scanner.scan().offers) == {"n"}


def test_a_model_that_is_not_enabled_here_is_no_second_one_beside_its_namesake(repository, staging, clock):
    repository.put("m", config='parameters { key: "tercet.enabled" value { string_value: "FALSE" } }')
    staging.put("m")
    scanner = Scanner([repository.path, staging.path], clock=clock.monotonic, wall_clock=clock.wall)
    offer = scanner.scan().offers["m"]
    assert (offer.problem, offer.directory) == ("", staging.path / "m")


def test_anything_but_true_and_false_is_refused_with_its_place(repository, scanner):
    repository.put("m", config='parameters { key: "tercet.enabled" value { string_value: "off" } }')
    repository.put("n", config='parameters { key: "tercet.pinned" value { string_value: "yes" } }')
    problem = scanner.scan().offers["m"].problem
    assert problem == "m/config.pbtxt:1:1: parameters: has 'tercet.enabled' as 'off', must be true or false"
    problem = scanner.scan().offers["n"].problem
    assert problem == "n/config.pbtxt:1:1: parameters: has 'tercet.pinned' as 'yes', must be true or false"


def test_a_load_call_cannot_bring_a_model_that_is_not_enabled(tmp_path):
    config = '{"parameters": {"tercet.enabled": {"string_value": "false"}}}'
    with pytest.raises(OverrideInvalid, match=r"the configuration says 'tercet\.enabled': false"):
        override("m", config, {"1/model.onnx": b""}, tmp_path, None)
