"""What of the chart is made from something else, and the command that makes it again.

    python -m tests.deploy.chart.rewrite

It writes the options of `tercet serve` into values.schema.json, and the golden renders. Read the diff.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from server.settings import Settings, options
from tests.deploy.chart.render import CHART, VALUES_FILES, Object, render

SCHEMA = CHART / "values.schema.json"
GOLDEN = Path(__file__).parent / "golden"

OF_THE_CHART = frozenset(
    """
    role id model_name http_port grpc_port metrics_port allow_http allow_grpc allow_metrics
    reuse_http_port reuse_grpc_port drain_grace_secs exit_timeout_secs state_dir model_repository
    model_control_mode repository_poll_secs
    model_cache_dir model_cache_bytes pre_endpoints predict_endpoints post_endpoints grpc_max_connection_age
    tls_certificate tls_key tls_client_ca tier_tls_certificate tier_tls_key tier_tls_ca
    grpc_use_ssl grpc_use_ssl_mutual grpc_server_cert grpc_server_key grpc_root_cert
    api_keys jwt_jwks jwt_issuer jwt_audience jwt_rights_claim anonymous_rights
    """.split()  # noqa: SIM905
)
"""Options that other values decide: ports, probes, paths and policies of the chart hang on them."""

GOLDENS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "defaults": ((), ()),
    **{name.removeprefix("values-").removesuffix(".yaml"): ((name,), ()) for name in VALUES_FILES},
}
"""Name of the golden file -> values files and sets."""


LONG = 1000
"""Characters of a file that a golden render names and does not show."""


def options_schema() -> dict[str, Any]:
    """What `options` of a tier may say: every option of `tercet serve` but those of the chart."""
    fields = Settings.model_json_schema()["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            option.flag.removeprefix("--"): _allowed(fields[name], is_list=option.is_list)
            for name, option in sorted(options().items())
            if name not in OF_THE_CHART
        },
    }


def _allowed(field: Mapping[str, Any], *, is_list: bool) -> dict[str, Any]:
    if is_list:
        return {"type": ["string", "array"], "items": {"type": "string"}}
    if "enum" in field:  # YAML reads a bare true as no word
        words = field["enum"]
        return {"enum": [*words, *(word == "true" for word in words if word in ("true", "false"))]}
    bounds = ("type", "minimum", "maximum", "exclusiveMinimum", "minLength", "pattern")
    kept = {key: field[key] for key in bounds if key in field}
    return kept if "type" in kept else {"type": "string"}


def golden_text(objects: list[Object]) -> str:
    """Objects in a fixed order, without what is long and says nothing."""
    ordered = sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))
    return yaml.safe_dump_all([_shortened(each) for each in ordered], sort_keys=False, width=100)


def _shortened(thing: Object) -> dict[str, Any]:
    """Without the contents of files that have tests of their own: alerts, dashboards, models."""
    kept = dict(thing)
    if thing["kind"] == "PrometheusRule":
        kept["spec"] = {"groups": [{"name": group["name"]} for group in thing["spec"]["groups"]]}
    for field in ("data", "binaryData"):
        if field in kept:
            kept[field] = {
                key: value if len(value) < LONG else "(long)" for key, value in kept[field].items()
            }
    return kept


def rewrite() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["definitions"]["options"] = options_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")
    GOLDEN.mkdir(exist_ok=True)
    texts = {name: golden_text(render(files, sets)) for name, (files, sets) in GOLDENS.items()}
    for old in GOLDEN.glob("*.yaml"):
        old.unlink()
    for name, text in texts.items():
        (GOLDEN / f"{name}.yaml").write_text(re.sub(r"[ \t]+\n", "\n", text), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
