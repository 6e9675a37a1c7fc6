"""Which right opens which call, and what Triton calls the group that it is in: two tables, one a protocol.

A call that names or describes models is read by whoever may ask them or may order them about. What is open
to everybody says nothing of models. A path or method that neither table has is as closed as a reading one.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from server.security.rights import Api, Call, Right

_READ = frozenset({Right.INFERENCE, Right.CONTROL})
_CONTROL = frozenset({Right.CONTROL})
_NOBODY = frozenset[Right]()

INFER = Call(Api.INFERENCE, frozenset({Right.INFERENCE}))
METRICS = Call(None, frozenset({Right.METRICS}))
UNKNOWN = Call(None, _READ)
"""What no table has."""

OPEN = Call(None, _NOBODY)
HEALTH = Call(Api.HEALTH, _NOBODY)
MODEL_READY = Call(Api.HEALTH, _READ)
METADATA = Call(Api.METADATA, _READ)
CONFIG = Call(Api.MODEL_CONFIG, _READ)
STATISTICS = Call(Api.STATISTICS, _READ)
REPOSITORY = Call(Api.MODEL_REPOSITORY, _READ)
SHARED_MEMORY = Call(Api.SHARED_MEMORY, frozenset({Right.INFERENCE}))


def _order(api: Api, name: str) -> Call:
    return Call(api, _CONTROL, name)


LOAD = _order(Api.MODEL_REPOSITORY, "load")
UNLOAD = _order(Api.MODEL_REPOSITORY, "unload")
LABELS = _order(Api.MODEL_REPOSITORY, "labels")
EVENTS = _order(Api.MODEL_REPOSITORY, "events")
SCHEDULING = _order(Api.MODEL_CONFIG, "scheduling")
LOGGING = _order(Api.LOGGING, "logging")
TRACING = _order(Api.TRACE, "tracing")

ByVerb = Mapping[str, Call]
"""A call for each verb of a path; `*` is every other one."""

HTTP: Mapping[str, Call | ByVerb] = MappingProxyType(
    {
        "/": HEALTH,
        "/v2/health/live": HEALTH,
        "/v2/health/ready": HEALTH,
        "/docs": OPEN,
        "/docs/assets/**": OPEN,
        "/openapi.json": METADATA,
        "/v2": METADATA,
        "/v2/models": METADATA,
        "/v1/models": METADATA,
        "/v1/models/*:explain": INFER,
        "/v1/models/*:predict": INFER,
        "/v1/models/*/versions/*:predict": INFER,
        "/v1/models/*": MODEL_READY,
        "/v2/models/stats": STATISTICS,
        "/v2/models/*": METADATA,
        "/v2/models/*/versions/*": METADATA,
        "/v2/models/*/trace/setting": TRACING,
        "/v2/models/*/scheduling": {"GET": CONFIG, "*": SCHEDULING},
        "/v2/repository/index": REPOSITORY,
        "/v2/repository/events": EVENTS,
        "/v2/repository/models/*/versions": REPOSITORY,
        "/v2/repository/models/*/labels": {"GET": REPOSITORY, "*": LABELS},
        "/v2/repository/models/*/load": LOAD,
        "/v2/repository/models/*/unload": UNLOAD,
        "/v2/repository/*/index": REPOSITORY,
        "/v2/repository/*/models/*/load": LOAD,
        "/v2/repository/*/models/*/unload": UNLOAD,
        "/v2/logging": LOGGING,
        "/v2/trace/setting": TRACING,
        "/v2/systemsharedmemory/**": SHARED_MEMORY,
        "/v2/cudasharedmemory/**": SHARED_MEMORY,
        **{
            f"/v2/models/*{version}/{verb}": call
            for version in ("", "/versions/*")
            for verb, call in {
                "infer": INFER,
                "predict": INFER,
                "generate": INFER,
                "generate_stream": INFER,
                "config": CONFIG,
                "ready": MODEL_READY,
                "stats": STATISTICS,
            }.items()
        },
    }
)
"""The paths of the HTTP door, of which the first that fits counts.

`*` is a name without a slash, `**` whatever follows.
"""


def _patterns() -> Iterator[tuple[re.Pattern[str], Call | ByVerb]]:
    for path, call in HTTP.items():
        written = re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
        yield re.compile(written, re.DOTALL), call


_PATTERNS = tuple(_patterns())


def http_call(verb: str, path: str) -> Call:
    """What asking this path is; the path as it is once it is unquoted.

    The router reads a path that ends in a line break (%0A) as if that were not there, and so does this.
    """
    asked = path.removesuffix("\n")
    for pattern, call in _PATTERNS:
        if pattern.fullmatch(asked):
            if isinstance(call, Call):
                return call
            return call.get(verb) or call["*"]
    return UNKNOWN


SERVICE = "/inference.GRPCInferenceService/"
STAGE_SERVICE = "/tercet.stage.v1.Stage/"
_OPEN_SERVICES = MappingProxyType(
    {
        "/grpc.health.v1.Health/": HEALTH,
        "/grpc.reflection.v1alpha.ServerReflection/": OPEN,
    }
)

GRPC: Mapping[str, Call] = MappingProxyType(
    {
        "ServerLive": HEALTH,
        "ServerReady": HEALTH,
        "ModelReady": MODEL_READY,
        "ServerMetadata": METADATA,
        "ModelMetadata": METADATA,
        "ModelInfer": INFER,
        "ModelStreamInfer": INFER,
        "ModelConfig": CONFIG,
        "ModelStatistics": STATISTICS,
        "RepositoryIndex": REPOSITORY,
        "RepositoryModelLoad": LOAD,
        "RepositoryModelUnload": UNLOAD,
        "LogSettings": LOGGING,
        "TraceSetting": TRACING,
        "SystemSharedMemoryStatus": SHARED_MEMORY,
        "SystemSharedMemoryRegister": SHARED_MEMORY,
        "SystemSharedMemoryUnregister": SHARED_MEMORY,
        "CudaSharedMemoryStatus": SHARED_MEMORY,
        "CudaSharedMemoryRegister": SHARED_MEMORY,
        "CudaSharedMemoryUnregister": SHARED_MEMORY,
    }
)
"""The methods of the inference service."""


def grpc_call(method: str) -> Call:
    """What calling this method is, by its full name. That of the tiers among themselves is not asked here."""
    if method.startswith(SERVICE):
        return GRPC.get(method.removeprefix(SERVICE), UNKNOWN)
    service = method[: method.rfind("/") + 1]
    return _OPEN_SERVICES.get(service, UNKNOWN)
