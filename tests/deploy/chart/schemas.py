"""Holds an object against its schema: Kubernetes' own, or that of a custom resource in schemas/.

kubernetes-validate carries Kubernetes' schemas. Its `validate` reads them anew for every object, which takes
longer than all else here; so each is read from it once, and the check is the same (a test compares).
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.deploy.chart.render import Object

CUSTOM = {path.stem: path for path in (Path(__file__).parent / "schemas").glob("*.yaml")}
"""Kind -> its file."""

OLDEST, NEWEST = "1.30", "1.37"
"""Of Kubernetes: the first that Chart.yaml lets in, and the last whose schemas we have."""


def faults(thing: Object, kubernetes: str = NEWEST) -> list[str]:
    """What the API server would not take: where, and why."""
    return list(_faults(json.dumps(thing), kubernetes))


@cache
def _faults(text: str, kubernetes: str) -> tuple[str, ...]:
    """Renders share most of their objects."""
    thing = json.loads(text)
    validator = _validator(thing["kind"], thing["apiVersion"], kubernetes)
    name = f"{thing['kind']} {thing['metadata']['name']}"
    return tuple(f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(thing))


@cache
def _validator(kind: str, api_version: str, kubernetes: str) -> Draft202012Validator:
    schema = _custom(kind, api_version) if kind in CUSTOM else _read(f"{kind}-{api_version}", kubernetes)
    return Draft202012Validator(schema, registry=_registry(kubernetes))


@cache
def _registry(kubernetes: str) -> Registry[Any]:
    definitions: Resource[Any] = Resource.from_contents(_read("_definitions", kubernetes))
    return definitions @ Registry()


def _read(name: str, kubernetes: str) -> Mapping[str, Any]:
    """A schema is called deployment-apps-v1: the kind, and the group without its domain."""
    kind, dash, group = name.partition("-")
    group, slash, version = group.partition("/")
    place = f"{kind.lower()}{dash}{group.partition('.')[0]}" + (f"-{version}" if slash else "")
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kubernetes}.0-local-strict"
    contents: Mapping[str, Any] = json.loads((folder / f"{place}.json").read_text(encoding="utf-8"))
    return contents


def _custom(kind: str, api_version: str) -> Mapping[str, Any]:
    written = yaml.safe_load(CUSTOM[kind].read_text(encoding="utf-8"))
    return {
        "$id": f"https://tercet.invalid/{kind}",
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": written["apiVersion"]},
            "kind": {"const": kind},
            "metadata": {
                "$ref": "https://kubernetes.io/api/_definitions.json"
                "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
            },
            "spec": written["spec"],
        },
        "definitions": written.get("definitions", {}),
    }
