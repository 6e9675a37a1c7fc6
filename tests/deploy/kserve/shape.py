"""Holds manifests against the classes that KServe and Kubernetes generate from their API.

In a process of its own, as kserve and tritonclient cannot share one:
`python -m tests.deploy.kserve.shape FILE ...` writes, as JSON, what is wrong with each document of each file:
fields that there are not, values of another type, required ones that are missing.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kserve
import yaml
from kubernetes import client

PLAIN = {"str": str, "int": int, "bool": bool, "float": float, "object": object, "datetime": str}


def wrong(value: Any, kind: str, where: str) -> Iterator[str]:
    """What is wrong with a value of this OpenAPI type."""
    if listed := re.fullmatch(r"[lL]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for at, each in enumerate(value):
            yield from wrong(each, listed[1], f"{where}[{at}]")
    elif mapped := re.fullmatch(r"[dD]ict[\[(]str, (.+)[\])]", kind):
        for name, each in value.items():
            yield from wrong(each, mapped[1], f"{where}.{name}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{where} is {value!r}, which is no {kind}"
    else:
        yield from _wrong_object(value, kind, where)


def _wrong_object(value: Any, kind: str, where: str) -> Iterator[str]:
    name = kind.rpartition(".")[2]
    shape = getattr(kserve, name, None) or getattr(client, name, None)
    if shape is None:  # a quantity, or an integer or a string
        if not isinstance(value, str | int | float):
            yield f"{where} is {value!r}, which is no {name}"
        return
    names = {outside: inside for inside, outside in shape.attribute_map.items()}
    for outside, each in value.items():
        if outside not in names:
            yield f"{where} has {outside}, which {name} has not"
        else:
            yield from wrong(each, shape.openapi_types[names[outside]], f"{where}.{outside}")
    try:
        shape(**{names[outside]: each for outside, each in value.items() if outside in names})
    except ValueError as missing:
        yield f"{where}: {missing}"


def class_of(document: Any) -> str:
    """As KServe names it: serving.kserve.io/v1beta1 InferenceService is V1beta1InferenceService."""
    return f"{document['apiVersion'].rpartition('/')[2].capitalize()}{document['kind']}"


if __name__ == "__main__":
    files = [yaml.safe_load_all(Path(file).read_text()) for file in sys.argv[1:]]
    found = [[list(wrong(each, class_of(each), each["kind"])) for each in documents] for documents in files]
    print(json.dumps(found))
