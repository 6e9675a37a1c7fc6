"""What compose.yaml declares is Compose's own form, and starts the processes of each profile."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.docker.lock import IMAGES
from server.settings import options
from tests.deploy.declared import DOORS, Declared, leaves, started
from tests.deploy.docker.dockerfile import stages
from tests.server_process import ROOT, SAMPLES, free_ports

COMPOSE = ROOT / "deploy" / "compose"
ASKED = {"instances": [[5.1, 3.5, 1.4, 0.2]]}


def compose() -> Any:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def ours() -> dict[str, Any]:
    """The services that are processes of ours."""
    return {name: each for name, each in compose()["services"].items() if "build" in each}


each_service = pytest.mark.parametrize("name", ours())


def seconds(service: Any, option: str, otherwise: float) -> float:
    words = dict(word.partition("=")[::2] for word in service["command"])
    return float(words.get(option, otherwise))


def test_the_file_is_of_the_form_that_compose_reads():
    schema = json.loads((Path(__file__).parent / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(compose())] == []


def test_each_profile_is_whole_and_has_prometheus():
    profiles: dict[str, set[str]] = {}
    for name, service in compose()["services"].items():
        for profile in service["profiles"]:
            profiles.setdefault(profile, set()).add(name)
    assert profiles == {
        "fused": {"fused", "prometheus"},
        "tiers": {"gateway", "pre", "predict", "post", "prometheus"},
    }


@each_service
def test_a_service_builds_a_target_that_there_is_and_runs_as_its_user(name):
    service = ours()[name]
    target = service["build"]["target"]
    assert target in IMAGES
    assert service["image"].startswith(f"tercet/{target}:")
    assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert service["user"] == stages()[target].last("USER")
    assert service["read_only"]


@each_service
def test_a_service_is_given_longer_than_it_takes_to_go(name):
    service = ours()[name]
    grace = seconds(service, "--drain-grace-secs", 0)
    longest = grace + 2 * seconds(service, "--exit-timeout-secs", 30)
    assert float(service["stop_grace_period"].removesuffix("s")) > longest


@each_service
def test_a_service_says_only_what_the_program_knows(name):
    first, *words = ours()[name]["command"]
    assert first == "serve"
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert flags <= {option.flag for option in options().values()}


@each_service
def test_control_is_closed_to_whoever_reaches_a_port(name):
    assert ours()[name]["environment"] == {
        options()["anonymous_rights"].variable: "inference,metrics",
    }


@each_service
def test_what_is_published_is_what_is_listened_on(name):
    declared = Declared(ours()[name]["command"])
    published = {int(port.rpartition(":")[2]) for port in ours()[name].get("ports", ())}
    assert published <= {declared.port(door) for door in DOORS}


def test_prometheus_asks_every_service_at_its_metrics_port():
    config = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())
    ((found,),) = [each["dns_sd_configs"] for each in config["scrape_configs"]]
    assert set(found["names"]) == ours().keys()
    assert {Declared(each["command"]).port("metrics") for each in ours().values()} == {found["port"]}


@pytest.mark.slow
def test_the_tiers_find_each_other_and_answer_and_go(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    (models / "iris").symlink_to(SAMPLES / "iris")
    names = [name for name, each in ours().items() if "tiers" in each["profiles"]]
    ports = {name: free_ports(3) for name in names}
    swaps = {"/models": str(models)} | {
        f"dns:///{name}:8001": f"127.0.0.1:{ports[name][1]}" for name in names
    }
    with ExitStack() as stack:
        servers = {}
        for name in names:
            declared = Declared(ours()[name]["command"], ours()[name]["environment"]).swapped(swaps)
            servers[name] = stack.enter_context(
                started(declared, tmp_path / f"{name}.log", ports=ports[name])
            )
        for server in servers.values():
            server.until(server.ready, within_s=90)
        answer = servers["gateway"].client.post("/v1/models/iris:predict", json=ASKED)
        assert answer.status_code == 200, answer.text
        for name, server in servers.items():
            grace = float(ours()[name]["stop_grace_period"].removesuffix("s"))
            assert leaves(server, grace) == 0, server.log
