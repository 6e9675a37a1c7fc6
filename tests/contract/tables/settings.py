"""Settings of the log that cannot be made, and what answers for tracing and shared memory."""

import json
from collections.abc import Iterator
from typing import Any

from protos import inference_pb2 as pb
from tests.contract.line import request
from tests.contract.rows import INVALID, NOT_FOUND, UNSUPPORTED, Call, Codes, Rest

LOG: list[tuple[str, object, Codes, str]] = [
    ("log_file", "/tmp/elsewhere", UNSUPPORTED, "log file location can not be updated"),
    ("log_colour", True, INVALID, "there is no log setting 'log_colour'; there are log_info, log_warning"),
    ("", True, INVALID, "there is no log setting ''"),
    ("log_info", "false", INVALID, "log setting 'log_info' must be a bool, but is a string: 'false'"),
    ("log_error", 1, INVALID, "log setting 'log_error' must be a bool, but is a whole number: 1"),
    ("log_verbose_level", True, INVALID, "'log_verbose_level' must be a whole number from 0 to 2147483647"),
    ("log_verbose_level", "1", INVALID, "'log_verbose_level' must be a whole number from 0 to 2147483647"),
    ("log_verbose_level", 2**32 - 1, INVALID, "'log_verbose_level' must be a whole number from 0 to"),
    ("log_format", "xml", INVALID, "'log_format' must be one of default, ISO8601, json, but is a string"),
    ("log_format", False, INVALID, "'log_format' must be one of default, ISO8601, json, but is a bool"),
]

LOG_OVER_HTTP: list[tuple[str, bytes, str]] = [
    ("no JSON", b"{", "the request is not JSON"),
    ("a list", b"[]", "the request must be a JSON object, but is a list"),
    ("a level below 0", b'{"log_verbose_level": -1}', "must be a whole number from 0 to"),
    ("a broken level", b'{"log_verbose_level": 1.5}', "must be a whole number from 0 to"),
    ("a list of formats", b'{"log_format": ["default"]}', "must be one of default, ISO8601, json"),
    ("a right one beside a wrong one", b'{"log_info": false, "log_error": 0}', "'log_error' must be a bool"),
]

TARGET = "'latency_target_ms' must be a number above 0 and up to 1000000000, or null, but is "
SCHEDULING: list[tuple[bytes, str]] = [
    (b"{", "the request is not JSON"),
    (b"[]", "the request must be a JSON object, but is a list"),
    (b'{"latency_target_ms": 0}', TARGET + "a whole number: 0"),
    (b'{"latency_target_ms": -0.5}', TARGET + "a float: -0.5"),
    (b'{"latency_target_ms": 1e12}', TARGET + "a float"),
    (b'{"latency_target_ms": "50"}', TARGET + "a string: '50'"),
    (b'{"latency_target_ms": true}', TARGET + "a bool: True"),
    (b'{"latency_target_ms": [50]}', TARGET + "a list"),
    (b'{"weight": 0}', "'weight' must be a number above 0"),
    (b'{"latency_target_ms": 50, "weight": {}}', "'weight' must be a number above 0"),
    (
        b'{"latency_target": 50}',
        "there is no scheduling setting 'latency_target'; there are latency_target_ms",
    ),
]

DISABLED = "Client shared memory is disabled"
WHOLE = "must be a whole number from"
TRACES: list[tuple[str, str | list[str], Codes, str]] = [
    ("trace_level", ["TIMESTAMPS"], UNSUPPORTED, "nobody collects traces: start the server with"),
    ("trace_level", ["TENSORS"], UNSUPPORTED, "level TENSORS is not offered"),
    ("trace_level", ["MAX"], INVALID, "must be a list of OFF or TIMESTAMPS, but has 'MAX'"),
    ("trace_rate", "often", INVALID, WHOLE),
    ("trace_rate", "-1", INVALID, WHOLE),
    ("trace_count", "-2", INVALID, WHOLE),
    ("log_frequency", "4294967296", INVALID, WHOLE),
    ("trace_file", "/tmp/x", UNSUPPORTED, "trace file location can not be updated"),
    ("trace_mode", "triton", UNSUPPORTED, "trace mode can not be updated"),
    ("trace_depth", "3", INVALID, "there is no trace setting 'trace_depth'"),
]


def rows() -> Iterator[Rest | Call]:
    for name, value, codes, says in LOG:
        body = json.dumps({name: value}).encode()
        yield Rest(f"log: {name!r} is {value!r}", request("/v2/logging", body), codes.http, says)
        yield Call(f"log: {name!r} is {value!r}", "LogSettings", _log_message(name, value), codes.grpc, says)
    for title, body, says in LOG_OVER_HTTP:
        yield Rest(f"log: {title}", request("/v2/logging", body), 400, says)
    for body, says in SCHEDULING:
        yield Rest(f"scheduling: {body!r}", request("/v2/models/double/scheduling", body), 400, says)
    yield from _traces()
    for kind in ("system", "cuda"):
        yield from _shared_memory(kind)


def _traces() -> Iterator[Rest | Call]:
    for name, value, codes, says in TRACES:
        for path, model in (("/v2/trace/setting", ""), ("/v2/models/double/trace/setting", "double")):
            body = json.dumps({name: value}).encode()
            yield Rest(f"traces: {name!r} is {value!r}", request(path, body), codes.http, says)
            message = pb.TraceSettingRequest(model_name=model)
            message.settings[name].value.extend(value if isinstance(value, list) else [value])
            sent = message.SerializeToString()
            yield Call(f"traces: {name!r} is {value!r}", "TraceSetting", sent, codes.grpc, says)
    for body, says in ((b"[]", "must be a JSON object"), (b'{"trace_rate": true}', "as text, but is a bool")):
        yield Rest(f"traces: {body!r}", request("/v2/trace/setting", body), 400, says)
    for path, method in (
        ("/v2/models/nobody/trace/setting", "GET"),
        ("/v2/models/nobody/trace/setting", "POST"),
    ):
        yield Rest(
            f"traces: {method} {path}", request(path, b"", method=method), 404, "unknown model", method
        )


def _shared_memory(kind: str) -> Iterator[Rest | Call]:
    path = f"/v2/{kind}sharedmemory"
    body = b'{"key": "/k", "byte_size": 4}'
    for where in (f"{path}/region/r/register", f"{path}/region/r/unregister", f"{path}/unregister"):
        yield Rest(f"shared memory: {where}", request(where, body), 501, DISABLED)
    says = f"Unable to find {kind} shared memory region: 'r'"
    sent = request(f"{path}/region/r/status", method="GET")
    yield Rest(f"shared memory: status of a {kind} region", sent, NOT_FOUND.http, says, "GET")
    methods = f"{kind.capitalize()}SharedMemory"
    named = pb.SystemSharedMemoryStatusRequest(name="r").SerializeToString()  # all of them have this field
    for what in ("Register", "Unregister"):
        for wire in (b"", named):
            yield Call(f"shared memory: {methods}{what}", methods + what, wire, UNSUPPORTED.grpc, DISABLED)
    yield Call(f"shared memory: {methods}Status", methods + "Status", named, NOT_FOUND.grpc, says)


def _log_message(name: str, value: Any) -> bytes:
    message = pb.LogSettingsRequest()
    match value:
        case bool():
            message.settings[name].bool_param = value
        case int():
            message.settings[name].uint32_param = value
        case str():
            message.settings[name].string_param = value
    wire: bytes = message.SerializeToString()
    return wire
