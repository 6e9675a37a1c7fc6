"""Renders the chart by Helm's own library, as `helm template` does, into the objects a cluster would get.

What is rendered once is kept for the session; a caller reads the objects and changes none of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
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
    return list(_parsed(_text(_merged(values_files, sets, values), name, namespace)))


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


def _merged(
    values_files: Sequence[str | Path], sets: Sequence[str], values: Mapping[str, Any] | None
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for file in values_files:
        merged = _over(merged, helm_python.values_from_yaml(_place(file).read_text(encoding="utf-8")))
    for expression in sets:
        merged = _over(merged, helm_python.parse_set_string(expression))
    return _over(merged, values or {})


def _place(file: str | Path) -> Path:
    path = Path(file)
    return path if path.is_absolute() else CHART / path


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are joined, all else is replaced, as Helm does it."""
    joined = dict(below)
    for key, value in above.items():
        old = joined.get(key)
        both_maps = isinstance(old, Mapping) and isinstance(value, Mapping)
        joined[key] = _over(old, value) if both_maps else deepcopy(value)  # type: ignore[arg-type]
    return joined


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


_rendered: dict[str, str] = {}


def _text(values: dict[str, Any], name: str, namespace: str) -> str:
    """All files of templates as one text, NOTES.txt and empty ones left out."""
    key = yaml.dump([values, name, namespace], Dumper=yaml.CSafeDumper)
    if key not in _rendered:
        texts = _chart().render(values, name=name, namespace=namespace)
        _rendered[key] = "\n---\n".join(
            text for path, text in sorted(texts.items()) if path.endswith(".yaml") and text.strip()
        )
    return _rendered[key]


@cache
def _parsed(text: str) -> tuple[Object, ...]:
    return tuple(_documents(text))


def _documents(text: str) -> Iterator[Object]:
    for document in yaml.load_all(text, Loader=yaml.CSafeLoader):
        if document is not None:
            yield document
