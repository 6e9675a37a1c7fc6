"""Renders the chart by Helm's own library, as `helm template` does, into the objects a cluster would get.

What is rendered once is kept for the session; a caller reads the objects and changes none of them.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).resolve().parents[3] / "deploy" / "helm" / "tercet"
VALUES_FILES = tuple(sorted(path.name for path in CHART.glob("values-*.yaml")))

Object = Mapping[str, Any]
"""One object of Kubernetes."""

Refused = (helm_python.HelmValuesError, helm_python.HelmRenderError)
"""What `render` raises: values that the schema does not know, or that the chart itself cannot go by."""


def render(
    values_files: Sequence[str | Path] = (),
    sets: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    name: str = "tercet",
    namespace: str = "models",
) -> list[Object]:
    """What `helm template NAME -f FILE ... --set SET ...` prints, hooks included.

    values_files   by their path, or by their name for those in the chart; later ones go before earlier ones
    sets           as on Helm's command line, `predict.replicas=2`; they go before the files
    values         a whole tree of them, which goes before both

    Raises one of `Refused`.
    """
    return list(_objects(json.dumps(_merged(values_files, sets, values)), name, namespace))


def notes(values_files: Sequence[str | Path] = (), sets: Sequence[str] = (), *, name: str = "tercet") -> str:
    """What Helm prints after an installation."""
    texts = _chart().render(_merged(values_files, sets, None), name=name, namespace="models")
    return texts["tercet/templates/NOTES.txt"]


def lint(values_files: Sequence[str | Path] = (), sets: Sequence[str] = ()) -> list[str]:
    """What `helm lint --strict` finds."""
    report = helm_python.lint(CHART, _merged(values_files, sets, None), strict=True, namespace="models")
    return [found["error"] for found in report["messages"] if found["severity"] >= 2]


def of_kind(objects: Sequence[Object], kind: str) -> dict[str, Object]:
    """The objects of one kind, by their names."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def component(thing: Object) -> str:
    """Which part of the release an object belongs to: a role's name, as in gateway; empty for none."""
    labels = thing["metadata"].get("labels", {})
    return str(labels.get("app.kubernetes.io/component", ""))


def server(deployment: Object) -> Object:
    """The container that runs `tercet serve`."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(each for each in containers if each["name"] == "tercet")


def arguments(deployment: Object) -> list[str]:
    """The words behind `tercet serve`, each an option with its value: --http-port=8000."""
    return [*server(deployment)["command"], *server(deployment)["args"]][2:]


def joined(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are joined, of all else the upper one counts, as Helm does it."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = joined(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _merged(
    values_files: Sequence[str | Path], sets: Sequence[str], values: Mapping[str, Any] | None
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in values_files:
        merged = joined(merged, helm_python.values_from_yaml(_place(file).read_text(encoding="utf-8")))
    for expression in sets:
        merged = joined(merged, helm_python.parse_set_string(expression))
    return joined(merged, values or {})


def _place(file: str | Path) -> Path:
    path = Path(file)
    return path if path.is_absolute() else CHART / path


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


@cache
def _objects(values: str, name: str, namespace: str) -> tuple[Object, ...]:
    """Of all templates, NOTES.txt left out; `values` is their JSON."""
    texts = _chart().render(json.loads(values), name=name, namespace=namespace)
    return tuple(
        document
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document is not None
    )
