"""values.schema.json refuses what the chart does not know, and knows all that it has."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.deploy.chart.render import CHART, Refused, render
from tests.deploy.chart.rewrite import SCHEMA, options_schema

DEFAULTS: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
FREE = {"podSecurityContext", "securityContext", "matchLabels", "capabilities", "seccompProfile"}
FREE |= {"annotations", "labels", "dashboardLabels", "podLabels", "podAnnotations", "nodeSelector"}
FREE |= {"requests", "limits"}
"""Maps whose keys are Kubernetes' or the operator's own."""


def places(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key that is ours, as deep as maps go."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, Mapping) and key not in FREE:
            yield from places(value, (*path, key))


def at(path: tuple[str, ...], value: object) -> dict[str, Any]:
    return {path[0]: at(path[1:], value) if len(path) > 1 else value}


@pytest.mark.parametrize("path", list(places(DEFAULTS)), ids=".".join)
def test_a_key_with_a_letter_too_many_is_refused_by_its_name(path):
    with pytest.raises(Refused, match=f"'{path[-1]}s'"):
        render(values=at((*path[:-1], path[-1] + "s"), None))


def test_a_tier_may_say_all_that_every_tier_may():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    known = schema["definitions"]["tier"]["properties"].keys()
    assert known == DEFAULTS["every"].keys()
    for role in ("gateway", "pre", "predict", "post", "all"):
        own = schema["properties"][role]["properties"].keys()
        assert known <= own


def test_everything_that_may_be_said_has_a_default_that_one_can_read():
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    tiers = {"gateway", "pre", "predict", "post", "all"}

    def compare(properties: Mapping[str, Any], values: Mapping[str, Any], path: str) -> None:
        assert properties.keys() - {"global"} == values.keys(), path
        for key, value in values.items():
            inner = properties[key].get("properties")
            if inner and isinstance(value, Mapping) and key not in tiers:
                compare(inner, value, f"{path}.{key}")

    compare(schema["properties"], DEFAULTS, "")


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "single"},
        {"every": {"options": {"log-formt": "json"}}},
        {"predict": {"options": {"cpu-threads": -1}}},
        {"predict": {"options": {"grpc-port": 9000}}},
        {"predict": {"replicas": "two"}},
        {"predict": {"autoscaling": {"min": 0}}},
        {"gateway": {"enabled": False}},
        {"repository": {"bucket": {"urls": ["/models"]}}},
        {"security": {"anonymousRights": "inference,contorl"}},
        {"security": {"jwt": {"jwks": "http://plain.example.com"}}},
        {"service": {"httpPort": 70000}},
        {"predict": {"tolerations": [{"keys": "gpu"}]}},
        {"predict": {"topologySpread": [{"topologyKey": "zone"}]}},
    ],
    ids=json.dumps,
)
def test_a_value_that_cannot_be_is_refused(values):
    with pytest.raises(Refused):
        render(values=values)


def test_the_options_in_the_schema_are_those_of_serve():
    """If this fails: python -m tests.deploy.chart.rewrite"""
    assert json.loads(SCHEMA.read_text(encoding="utf-8"))["definitions"]["options"] == options_schema()


def test_the_readme_tells_of_every_group_of_values():
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    untold = {"nameOverride", "fullnameOverride", "podSecurityContext", "securityContext", "test", "kserve"}
    assert [key for key in DEFAULTS if key not in untold and not re.search(rf"\b{key}\b", readme)] == []
