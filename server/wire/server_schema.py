"""What the server's own requests and answers look like, as schemas for the OpenAPI page.

The schemas keep to OpenAPI 3.0, as those of `server.wire.schema` do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from server.domain.event import What
from server.domain.labels import LARGEST_VERSION
from server.domain.labels import Source as LabelSource
from server.domain.scheduling import MOST, Source
from server.wire.events import DEFAULT_LIMIT, LARGEST
from server.wire.events import MOST as MOST_EVENTS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FREE: Schema = {"type": "object"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(members: Mapping[str, Schema], optional: Sequence[str] = ()) -> Schema:
    made: Schema = {"type": "object", "properties": dict(members)}
    required = [name for name in members if name not in optional]
    return {**made, "required": required} if required else made


_SHAPE = _list({"type": "integer", "minimum": -1})
_TENSORS = _list(_object({"name": _TEXT, "datatype": _TEXT, "shape": _SHAPE}))

ALIVE = _object({"status": _TEXT})
LIVE = _object({"live": _FLAG})
READY = _object({"name": _TEXT, "ready": _FLAG}, optional=["name"])
SERVER = _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)})
MODELS = _object({"models": _list(_TEXT)})
MODEL = _object(
    {
        "name": _TEXT,
        "versions": _list(_TEXT),
        "platform": _TEXT,
        "inputs": _TENSORS,
        "outputs": _TENSORS,
    }
)

_CONFIGURED = _list(_object({"name": _TEXT, "data_type": _TEXT, "dims": _SHAPE}))
CONFIGURATION = _object(
    {
        "name": _TEXT,
        "platform": _TEXT,
        "backend": _TEXT,
        "max_batch_size": _COUNT,
        "input": _CONFIGURED,
        "output": _CONFIGURED,
    }
)
"""The members that every configuration has, of many; see Triton's ModelConfig."""

_SPAN = _object({"count": _COUNT, "ns": _COUNT})
_STAGES = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), _SPAN)
_REQUESTS = dict.fromkeys(("success", "fail", "queue", "cache_hit", "cache_miss"), _SPAN)
STATISTICS = _object(
    {
        "model_stats": _list(
            _object(
                {
                    "name": _TEXT,
                    "version": _TEXT,
                    "last_inference": _COUNT,
                    "inference_count": _COUNT,
                    "execution_count": _COUNT,
                    "inference_stats": _object({**_REQUESTS, **_STAGES}),
                    "response_stats": _FREE,
                    "batch_stats": _list(_object({"batch_size": _COUNT, **_STAGES})),
                    "memory_usage": _list(_object({"type": _TEXT, "id": _COUNT, "byte_size": _COUNT})),
                }
            )
        )
    }
)

_ANSWER = {"id": _TEXT, "model_name": _TEXT, "model_version": _TEXT}
INFERRED = _object({**_ANSWER, "outputs": _TENSORS}, optional=["id"])
GENERATED = _object(_ANSWER, optional=["id"])
PREDICTED = _object({"predictions": _list({})})
"""The last three of any model: what is the same for all."""

_STATE: Schema = {"type": "string", "enum": ["UNKNOWN", "READY", "UNAVAILABLE", "LOADING", "UNLOADING"]}
INDEX_REQUEST = _object({"ready": _FLAG}, optional=["ready"])
INDEX = _list(
    _object(
        {"name": _TEXT, "version": _TEXT, "state": _STATE, "reason": _TEXT, "loaded": _FLAG},
        optional=["version", "state", "reason", "loaded"],
    )
)

_VERSION: Schema = {
    "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}],
    "description": "this version alone",
}
_FILE: Schema = {
    "type": "string",
    "format": "byte",
    "description": "`file:VERSION/NAME`: a file of the model, in place of all that is on disk",
}
_CONFIG: Schema = {"type": "string", "description": "a ModelConfig as JSON text"}
_LOAD: Schema = {
    **_object({"config": _CONFIG, "version": _VERSION}, optional=["config", "version"]),
    "additionalProperties": _FILE,
}
_UNLOAD: Schema = {
    **_object({"unload_dependents": _FLAG, "version": _VERSION}, optional=["unload_dependents", "version"]),
    "additionalProperties": False,
}
LOAD_REQUEST = _object({"parameters": _LOAD}, optional=["parameters"])
UNLOAD_REQUEST = _object({"parameters": _UNLOAD}, optional=["parameters"])

_TIME: Schema = {"type": "number", "minimum": 0}
_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_EVENT = _object(
    {
        "sequence": _NUMBER,
        "at": {**_TIME, "description": "seconds since the epoch"},
        "event": {"type": "string", "enum": [what.value for what in What]},
        "model": _TEXT,
        "version": _TEXT,
        "content": _TEXT,
        "from": _STATE,
        "to": _STATE,
        "reason": _TEXT,
        "duration_s": _TIME,
        "requests": _COUNT,
        "failures": _COUNT,
    },
    optional=["version", "content", "reason", "duration_s", "requests", "failures"],
)
EVENTS = _object(
    {
        "events": _list(_EVENT),
        "oldest": {**_NUMBER, "description": "the first event that is kept"},
        "last": {**_NUMBER, "description": "where to go on, as `since`"},
        "missed": {**_COUNT, "nullable": True, "description": "events after `since` that are kept no longer"},
        "more": {**_FLAG, "description": "whether `limit` cut it short"},
    }
)
SINCE: Schema = _NUMBER
LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": DEFAULT_LIMIT}
HISTORY = _object(
    {
        "name": _TEXT,
        "versions": _list(
            _object(
                {
                    "version": _TEXT,
                    "content": _TEXT,
                    "state": _STATE,
                    "event": {"type": "string", "enum": [what.value for what in What]},
                    "since": _TIME,
                    "labels": _list(_TEXT),
                    "requests": _COUNT,
                    "failures": _COUNT,
                    "verified_s": _TIME,
                    "loaded_s": _TIME,
                    "reason": _TEXT,
                },
                optional=["verified_s", "loaded_s", "reason"],
            )
        ),
    }
)
_LABEL = _object(
    {
        "version": _TEXT,
        "from": {"type": "string", "enum": [source.value for source in LabelSource]},
        "serves": _FLAG,
    }
)
LABELS = _object({"name": _TEXT, "labels": {"type": "object", "additionalProperties": _LABEL}})
LABELS_REQUEST: Schema = {
    "type": "object",
    "description": "label -> version that serves, or null to take back what calls have said",
    "additionalProperties": {"type": "integer", "minimum": 1, "maximum": LARGEST_VERSION, "nullable": True},
}

_LOG_SETTINGS: dict[str, Schema] = {
    **dict.fromkeys(("log_info", "log_warning", "log_error"), _FLAG),
    "log_verbose_level": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "log_format": {"type": "string", "enum": ["default", "ISO8601", "json"]},
}
LOGGING = _object({"log_file": _TEXT, **_LOG_SETTINGS})
LOGGING_REQUEST = {**_object(_LOG_SETTINGS, optional=[*_LOG_SETTINGS]), "additionalProperties": False}
_WRITTEN: Schema = {"type": "string", "pattern": "^-?[0-9]{1,10}$"}
_LEVELS = _list({"type": "string", "enum": ["OFF", "TIMESTAMPS"]})
_TRACE_SETTINGS: Mapping[str, Schema] = {
    "trace_level": _LEVELS,
    "trace_rate": _WRITTEN,
    "trace_count": _WRITTEN,
    "log_frequency": _WRITTEN,
}
TRACES = _object({**_TRACE_SETTINGS, "trace_file": _TEXT, "trace_mode": _TEXT})
TRACES_REQUEST = {
    **_object(
        {name: {**value, "nullable": True} for name, value in _TRACE_SETTINGS.items()},
        optional=[*_TRACE_SETTINGS],
    ),
    "additionalProperties": False,
}
_WANTED: Schema = {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": MOST}
_SOURCE: Schema = {"type": "string", "enum": [source.value for source in Source]}
_TIMES: Schema = {
    "type": "object",
    "description": "rows of a run -> milliseconds that it is expected to take",
    "additionalProperties": {"type": "number", "minimum": 0},
}
SCHEDULING = _object(
    {
        "name": _TEXT,
        "latency_target_ms": {**_WANTED, "nullable": True},
        "latency_target_from": _SOURCE,
        "weight": _WANTED,
        "weight_from": _SOURCE,
        "versions": _list(
            _object(
                {
                    "version": _TEXT,
                    **dict.fromkeys(
                        ("instances", "waiting", "running", "max_queue_size", "max_queue_bytes"), _COUNT
                    ),
                    "predicted_ms": _TIMES,
                }
            )
        ),
    }
)
_CHANGE: dict[str, Schema] = {
    "latency_target_ms": {
        **_WANTED,
        "nullable": True,
        "description": "within which each request is to be answered; null: as the configuration says",
    },
    "weight": {
        **_WANTED,
        "nullable": True,
        "description": "the model's share of a device; null: as the configuration says",
    },
}
SCHEDULING_REQUEST = {**_object(_CHANGE, optional=[*_CHANGE]), "additionalProperties": False}
REGIONS = _list(_FREE)
