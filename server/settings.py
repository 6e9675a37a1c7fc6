"""Every option of a process: its name, its default, its bounds, and where its value comes from.

The command line goes before the environment (`TERCET_` and the name), that before a settings file (TOML),
that before the defaults. `read` makes one frozen `Settings` of them, or raises `SettingsInvalid` with a
sentence for each fault. Only `server.cli` and `server.app` read this; a part is handed the values it needs.

Where Triton has the option, the name and, unless the help says otherwise, the default are Triton's.

Plain pydantic holds the values to their types. pydantic-settings would join the sources too, but it cannot
say which one a bad value came from, wants lists in the environment as JSON, and triples the time of import.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from server.option_values import (
    WAY_OF_KEYS,
    AnonymousRights,
    Budgets,
    Endpoints,
    FilePath,
    Groups,
    HeaderName,
    Names,
    Pattern,
    Places,
    Port,
    Resources,
    Words,
)

INT32_MAX = 2**31 - 1
MIB = 2**20


class SettingsInvalid(Exception):
    """`faults` has a sentence for every value that cannot be used, named as the operator wrote it."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def _group(title: str) -> Callable[..., Any]:
    def option(default: Any, help: str, **bounds: Any) -> Any:
        return Field(default, description=help, json_schema_extra={"group": title}, **bounds)

    return option


_models = _group("Models")
_memory = _group("Memory")
_process = _group("Start and stop")
_http = _group("HTTP")
_grpc = _group("gRPC")
_metrics = _group("Metrics")
_requests = _group("Limits of a request")
_running = _group("Queues and threads")
_tiers = _group("Tiers")
_logging = _group("Logging")
_callers = _group("Who may ask")
_tls = _group("TLS")
_traces = _group("Traces")


Role = Literal["all", "gateway", "pre", "predict", "post"]

ASKS: Mapping[Role, tuple[str, ...]] = {
    "all": (),
    "gateway": ("pre", "predict", "post"),
    "pre": ("predict",),
    "predict": ("post",),
    "post": (),
}
"""The tiers whose endpoints a process of each role may be told."""


class Settings(BaseModel):
    """All options with their values; the order is that of `tercet serve --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model_repository: Places = _models(
        (), "folder of models, or s3://, gs://, az://, http(s)://...; repeat it to serve several"
    )
    model_control_mode: Literal["none", "poll", "explicit"] = _models(
        "none",
        "none: load all models once; poll: follow the folders, as `serve REPO` does; explicit: load by call",
    )
    repository_poll_secs: float = _models(
        15, "in mode poll, between two scans; file events come on top", gt=0
    )
    repository_settle_secs: float = _models(1.0, "how long files must lie still before they are loaded", ge=0)
    model_cache_dir: FilePath = _models(
        None, "where models from addresses are kept on this node; without it, in the user's cache folder"
    )
    model_cache_bytes: int = _models(
        100 * 2**30, "of all that is kept there, what serves included; the least recently used goes", ge=1
    )
    model_fetch_thread_count: int = _models(4, "how many models are fetched at the same time", ge=1, le=64)
    require_manifest: bool = _models(
        False, "refuse a version without manifest.json; `tercet manifest` writes it"
    )
    manifest_public_key: FilePath = _models(
        None,
        "refuse a version whose manifest this Ed25519 key (PEM) did not sign; implies --require-manifest",
    )
    load_model: Names = _models((), "in mode explicit, a model to load at the start; repeat it, or * for all")
    include_models: Names = _models(
        (), "serve only models whose names match this pattern, as in fraud-*; repeat it"
    )
    exclude_models: Names = _models((), "leave out models whose names match this pattern; repeat it")
    model_name: str = _models(
        "", "where a repository is one model's folder, or has nothing but its file: serve it under this name"
    )
    model_config_name: str = _models("", "read configs/NAME.pbtxt of a model in place of its config.pbtxt")
    disable_auto_complete_config: bool = _models(False, "fill in nothing that a config.pbtxt leaves out")
    model_load_thread_count: int = _models(4, "how many models load at the same time", ge=1, le=256)
    model_load_retry_count: int = _models(0, "how often a load that fails is tried again", ge=0, le=100)

    verify_models: bool = _models(
        True,
        "before a new version is loaded, try it in a process of its own: its files, examples, batches",
    )
    verify_timeout_secs: float = _models(300, "how long that may take", gt=0)
    verify_memory_bytes: int = _models(
        0, "how much memory that may take; 0: half of what the machine or the cgroup has", ge=0
    )
    runtime_workers: Literal["off", "each", "group"] = _models(
        "off",
        "where models run: in the server, each in a process of its own, or all in one process; the parameter "
        "runtime_worker of a model (none, own, group:NAME) decides for itself",
    )
    runtime_worker_run_secs: float = _models(
        300, "a process in which a run takes longer is killed, and started again", gt=0
    )
    runtime_worker_max_crashes: int = _models(
        5, "so many within five minutes, and the models of that process are unavailable", ge=1
    )
    runtime_worker_quarantine_secs: float = _models(
        300, "how long they are then left alone, unless their files change or they are loaded by call", gt=0
    )
    runtime_worker_shared_bytes: int = _models(
        256 * MIB, "bytes of tensors that are under way to and from one such process", ge=MIB
    )
    rollback: bool = _models(
        True, "take a new version back that fails more often, or is much slower, than the one before it"
    )
    rollback_window_secs: float = _models(
        60, "how long a new version is watched, and the one before it kept in memory; 0: not at all", ge=0
    )
    state_dir: FilePath = _models(
        None, "folder for what outlives a restart, such as verdicts on versions; without it, nothing does"
    )

    memory_budget: Budgets = _memory(
        (),
        "how much models may take of a device's memory, as in cpu=4GiB or cuda:0=80%; repeat it for several; "
        "beyond it a model is loaded when it is asked for, and others leave",
    )
    host_cache_bytes: int = _memory(
        0, "of files of models that had to leave, kept in the host's memory for a quick return", ge=0
    )
    prepared_models_bytes: int = _memory(
        20 * 2**30,
        "of large ONNX models that are not in memory, prepared in the state folder opened in half the time; "
        "0: none",
        ge=0,
    )
    min_residency_secs: float = _memory(
        0,
        "how long a model that was loaded stays, if longer than its load took and no request gets too late",
        ge=0,
    )
    load_on_request: Literal["auto", "true", "false"] = _memory(
        "auto",
        "load a verified model only when it is asked for, and evict others for it; auto: with a budget",
    )
    swap_policy: Literal["auto", "keep-serving", "free-first"] = _memory(
        "auto",
        "what serves while its successor is loaded: keep-serving needs memory for both, free-first has "
        "requests wait; auto: the first if the budget allows",
    )
    idle_unload_secs: float = _memory(
        0, "a model that was not asked for so long gives its memory back; 0: only if others need it", ge=0
    )
    pinned_model: Names = _memory(
        (), "models whose names match this pattern, as in fraud-*, never leave memory; repeat it"
    )

    id: str = _process("tercet", "the server's name in its metadata")
    strict_readiness: bool = _process(True, "ready only while every model is; false: once the server answers")
    exit_on_error: bool = _process(False, "go if a model fails at the start (Triton's default is true)")
    drain_grace_secs: float = _process(0, "on SIGTERM, how long to serve on while not ready any more", ge=0)
    exit_timeout_secs: float = _process(30, "after the grace, how long to wait for requests in flight", ge=0)

    allow_http: bool = _http(True, "answer over HTTP")
    http_address: str = _http("0.0.0.0", "address to listen on", min_length=1)
    http_port: Port = _http(8000, "port to listen on; 0 takes a free one")
    reuse_http_port: bool = _http(
        False, "share the port with other processes that say so, as `tercet up` does"
    )
    http_max_input_size: int = _http(64 * MIB, "bytes in a request's body, as sent and as decompressed", ge=1)
    http_max_header_bytes: int = _http(65_536, "bytes in a request's line and headers", ge=1024)
    http_max_headers: int = _http(256, "headers of a request, and of the trailer behind its chunks", ge=1)
    http_max_chunks: int = _http(65_536, "chunks of a body that comes in chunks", ge=1)
    http_max_json_depth: int = _http(
        500, "lists and objects inside each other in a request's JSON", ge=8, le=500
    )
    http_max_connections: int = _http(8192, "connections that may be open at once", ge=1)
    http_request_timeout_secs: float = _http(
        300, "how long a request may take to arrive, and how long its answer may lie unread", gt=0
    )
    http_keep_alive_secs: float = _http(75, "how long a connection may idle between requests", gt=0)
    http_header_forward_pattern: Pattern = _http(
        "", "request headers whose names match this regular expression become parameters of the request"
    )
    max_event_listeners: int = _http(64, "streams of events (/v2/repository/events) open at once", ge=0)
    docs: bool = _http(True, "show the API of the served models at /docs")

    allow_grpc: bool = _grpc(True, "answer over gRPC")
    grpc_address: str = _grpc("0.0.0.0", "address to listen on", min_length=1)
    grpc_port: Port = _grpc(8001, "port to listen on; 0 takes a free one")
    reuse_grpc_port: bool = _grpc(
        False, "share the port with other processes that say so, as `tercet up` does"
    )
    grpc_max_message_bytes: int = _grpc(INT32_MAX, "bytes in one message, either way", ge=1024, le=INT32_MAX)

    grpc_front: Literal["auto", "native", "grpcio"] = _grpc(
        "auto",
        "who answers ModelInfer: our own HTTP/2 where it can (auto, native), which is fast, or grpcio",
    )
    grpc_max_in_flight: int = _grpc(8192, "calls that the native front holds at once", ge=1)
    grpc_max_concurrent_streams: int = _grpc(
        1024, "calls that one connection may have open at once", ge=1, le=INT32_MAX
    )
    grpc_max_infer_streams: int = _grpc(1024, "calls of ModelStreamInfer that may be open at once", ge=1)
    grpc_max_stream_requests: int = _grpc(
        128, "requests of one such stream in flight; the next ones wait with the client", ge=1
    )
    grpc_stream_unread_secs: float = _grpc(
        300, "how long a client may leave an answer on a stream unread before the stream is given up", gt=0
    )
    grpc_keepalive_time: int = _grpc(
        7_200_000, "ms without traffic until a client is asked whether it is there", ge=1, le=INT32_MAX
    )
    grpc_keepalive_timeout: int = _grpc(
        20_000, "ms until a client that does not answer that is given up", ge=1, le=INT32_MAX
    )
    grpc_keepalive_permit_without_calls: bool = _grpc(False, "ask so also while no call is open")
    grpc_http2_max_pings_without_data: int = _grpc(
        2, "how often in a row to ask so; 0: no limit", ge=0, le=INT32_MAX
    )
    grpc_http2_min_recv_ping_interval_without_data: int = _grpc(
        300_000, "ms between a client's own pings; sooner ones are strikes", ge=0, le=INT32_MAX
    )
    grpc_http2_max_ping_strikes: int = _grpc(
        2, "strikes until such a client is sent away; 0: no limit", ge=0, le=INT32_MAX
    )
    grpc_max_connection_age: int = _grpc(
        0, "ms until a client is told to connect anew, as balancing asks for; 0: never", ge=0, le=INT32_MAX
    )
    grpc_max_connection_age_grace: int = _grpc(
        0, "ms that its calls then have to finish; 0: as long as they need", ge=0, le=INT32_MAX
    )
    grpc_infer_response_compression_level: Literal["none", "low", "medium", "high"] = _grpc(
        "none", "pack answers for clients that can unpack them"
    )

    grpc_header_forward_pattern: Pattern = _grpc("", "the same for the metadata of a gRPC call")

    allow_metrics: bool = _metrics(True, "show Prometheus metrics")
    allow_cpu_metrics: bool = _metrics(True, "show the machine's processors and memory among them")
    allow_gpu_metrics: bool = _metrics(True, "show its GPUs, too, where there are any")
    metrics_address: str = _metrics("", "address to listen on; empty for that of --http-address")
    metrics_port: Port = _metrics(8002, "port to listen on; 0 takes a free one")

    max_name_length: int = _requests(1024, "characters in the name of a model, a tensor or a parameter", ge=1)
    max_request_id_length: int = _requests(1024, "characters in the id of a request", ge=1)
    max_string_parameter_length: int = _requests(MIB, "characters in a parameter that is a string", ge=1)
    max_request_parameters: int = _requests(1024, "parameters of a request, and of each tensor in it", ge=1)
    max_request_tensors: int = _requests(4096, "inputs of a request, and outputs that it asks for", ge=1)
    max_tensor_elements: int = _requests(INT32_MAX, "elements of one tensor that is sent", ge=1)

    max_queue_size: int = _running(
        1024, "requests that may wait for a model whose config has no limit, or be in an ensemble", ge=1
    )
    fairness_header: HeaderName = _running(
        "", "header, or metadata of a gRPC call, that names the client; clients share a model's queue fairly"
    )
    overload_status: Literal["tercet", "triton"] = _running(
        "tercet", "a full queue answers 429 / RESOURCE_EXHAUSTED, or Triton's 503 / UNAVAILABLE"
    )
    max_queue_bytes: int = _running(256 * MIB, "bytes of inputs that may wait for one model", ge=1)
    device_concurrency: int = _running(
        0, "runs at the same time on one device; 0: as many as it has cores, or instances", ge=0, le=4096
    )
    rate_limit: Literal["execution_count", "off"] = _running(
        "off",
        "execution_count: a run waits until the resources of its instance_group.rate_limiter are free, and "
        "models take turns by its priority",
    )
    rate_limit_resource: Resources = _running(
        (), "how much of a resource there is, on every device or on one; repeat it for several"
    )
    stage_threads: int = _running(4, "threads that run pre- and post-processing code", ge=1, le=1024)
    stage_queue_size: int = _running(1024, "requests that may wait for one of them", ge=1)
    cpu_threads: int = _running(0, "threads that compute, for all models; 0: as the cgroup allows", ge=0)

    role: Role = _tiers(
        "all",
        "what this process does: all, a gateway's doors and route, or one stage of every version, over gRPC",
    )
    pre_endpoints: Endpoints = _tiers(
        (), "of a gateway: where the pre tier is, host:port or dns:///name:port; repeat it, or use commas"
    )
    predict_endpoints: Endpoints = _tiers(
        (),
        "of a gateway and a pre tier: where the predict tier is; also oip://host:port, another server of the "
        "protocol, with ?model=NAME&model=NAME for one that has no repository index",
    )
    post_endpoints: Endpoints = _tiers(
        (), "of a gateway and a predict tier, and of a pre tier before oip://: where the post tier is"
    )

    api_keys: FilePath = _callers(
        None, "a JSON list of keys, by their sha256, with their rights; read again when it changes"
    )
    jwt_jwks: str = _callers(
        "", "file or https:// address of the keys (JWKS) that sign tokens; without it, no token is good"
    )
    jwt_issuer: str = _callers("", "what a token has to have as iss")
    jwt_audience: str = _callers("", "what a token has to have as aud, or among it")
    jwt_rights_claim: str = _callers(
        "tercet_rights", "the claim of a token that lists its rights", min_length=1
    )
    anonymous_rights: AnonymousRights = _callers(
        "",
        "rights of who shows neither: inference, control and metrics, with commas, or none; without it, all "
        "of them where there are neither keys nor tokens, and none where there are. Health is always open",
    )
    http_restricted_api: Groups = _callers(
        (), "as Triton's: API[,API...]:HEADER=VALUE closes these to requests without that header; repeat it"
    )
    grpc_restricted_protocol: Groups = _callers(
        (), "the same over gRPC, where the header is triton-grpc-protocol-HEADER"
    )

    tls_certificate: FilePath = _tls(
        None,
        "TLS on HTTP, gRPC and metrics: the certificate and who signed it (PEM); read again when it changes",
    )
    tls_key: FilePath = _tls(None, "its key")
    tls_client_ca: FilePath = _tls(
        None, "clients over HTTP and gRPC have to show a certificate that one of these has signed"
    )
    grpc_use_ssl: bool = _tls(
        False, "TLS on gRPC by certificates of its own; this and what follows as Triton's"
    )
    grpc_use_ssl_mutual: bool = _tls(False, "the same, and clients have to show a certificate")
    grpc_server_cert: FilePath = _tls(None, "the certificate for that")
    grpc_server_key: FilePath = _tls(None, "its key")
    grpc_root_cert: FilePath = _tls(None, "who signs the certificates of clients")
    tier_tls_certificate: FilePath = _tls(
        None, "between tiers each side shows a certificate: that of this process"
    )
    tier_tls_key: FilePath = _tls(None, "its key")
    tier_tls_ca: FilePath = _tls(None, "who signs the certificates of all tiers, and of nobody else")

    log_verbose: int = _logging(0, "1 and above add debug lines", ge=0)
    log_info: bool = _logging(True, "write lines of level info")
    log_warning: bool = _logging(True, "write lines of level warning")
    log_error: bool = _logging(True, "write lines of level error")
    log_format: Literal["default", "ISO8601", "json"] = _logging("default", "lines for people, or of JSON")
    log_file: FilePath = _logging(None, "append the log to this file; without it, stderr")
    access_log: bool = _logging(True, "write a line for each request")

    trace_otlp_endpoint: str = _traces(
        "", "send traces to this OpenTelemetry collector by OTLP over HTTP, such as http://collector:4318"
    )
    trace_sample_rate: float = _traces(
        0,
        "with --trace-otlp-endpoint, the share of requests that are traced beside those whose traceparent "
        "asks for it: every so-many-th, rounded",
        ge=0,
        le=1,
    )
    trace_config: Words = _traces(
        (),
        "traces as Triton is told of them: mode=opentelemetry, opentelemetry,url=URL, level=TIMESTAMPS, "
        "rate=N, count=N; repeat it",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        faults = [*self._shared_ports(), *self._startup_models(), *self._tiers(), *self._budgets()]
        faults += [*self._callers(), *self._tls()]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _shared_ports(self) -> Iterable[str]:
        doors = (
            ("--http-port", self.allow_http, self.http_port),
            ("--grpc-port", self.allow_grpc, self.grpc_port),
            ("--metrics-port", self.allow_metrics, self.metrics_port),
        )
        taken: dict[int, str] = {}
        for name, is_open, port in doors:
            if is_open and port:
                if port in taken:
                    yield f"{taken[port]} and {name} are both {port}: each door needs a port of its own"
                taken.setdefault(port, name)

    def _startup_models(self) -> Iterable[str]:
        if self.load_model and self.model_control_mode != "explicit":
            yield f"--load-model needs --model-control-mode=explicit, which is {self.model_control_mode}"
        if "*" in self.load_model and len(self.load_model) > 1:
            yield "--load-model=* loads every model, so it cannot stand beside another --load-model"

    def _tiers(self) -> Iterable[str]:
        lists = (
            ("--pre-endpoints", "pre", self.pre_endpoints),
            ("--predict-endpoints", "predict", self.predict_endpoints),
            ("--post-endpoints", "post", self.post_endpoints),
        )
        for flag, stage, given in lists:
            asks = ASKS[self.role]
            foreign = [each for each in given if each.startswith("oip://")]
            if foreign and stage != "predict":
                yield f"{flag} has {foreign[0]}: only the predict tier can be another server"
            if given and stage not in asks and not self._passes_on(stage):
                who = f"a process of --role={self.role} asks " + (
                    f"the {' and the '.join(asks)} tier alone" if asks else "no other tier"
                )
                yield f"{flag} would have no effect: {who}"
        if self.role == "gateway" and not self.predict_endpoints:
            yield "--role=gateway needs --predict-endpoints: every model is predicted by a tier behind it"
        if self.role != "all" and not self.allow_grpc and self.role != "gateway":
            yield f"--role={self.role} needs --allow-grpc=true: the other tiers ask over gRPC"

    def _passes_on(self, stage: str) -> bool:
        """Whether this process is to ask a stage in the place of a server that passes nothing on."""
        foreign = any(each.startswith("oip://") for each in self.predict_endpoints)
        return self.role == "pre" and stage == "post" and foreign

    def _callers(self) -> Iterable[str]:
        needed = {"--jwt-issuer": self.jwt_issuer, "--jwt-audience": self.jwt_audience}
        if self.jwt_jwks and WAY_OF_KEYS.fullmatch(self.jwt_jwks) is None:
            yield (
                f"--jwt-jwks={self.jwt_jwks} must be a file or an https:// address: by http:// anybody on "
                "the way could put in keys of their own (it is taken of this machine alone)"
            )
        for flag, value in needed.items():
            if self.jwt_jwks and not value:
                yield f"--jwt-jwks needs {flag}: a token made for somebody else would be good here, too"
            if value and not self.jwt_jwks:
                yield f"{flag} would have no effect without --jwt-jwks"

    def _tls(self) -> Iterable[str]:
        if (self.tls_certificate is None) != (self.tls_key is None):
            yield "--tls-certificate and --tls-key go together"
        if self.tls_client_ca is not None and self.tls_certificate is None:
            yield "--tls-client-ca needs --tls-certificate: without it nobody is asked for a certificate"
        if self.grpc_use_ssl or self.grpc_use_ssl_mutual:
            if self.grpc_server_cert is None or self.grpc_server_key is None:
                yield "--grpc-use-ssl needs --grpc-server-cert and --grpc-server-key"
            if self.grpc_use_ssl_mutual and self.grpc_root_cert is None:
                yield "--grpc-use-ssl-mutual needs --grpc-root-cert: who signs the certificates of clients"
        tier = (self.tier_tls_certificate, self.tier_tls_key, self.tier_tls_ca)
        if any(tier) and not all(tier):
            yield "--tier-tls-certificate, --tier-tls-key and --tier-tls-ca go together"
        if any(tier) and self.role == "all":
            yield "--tier-tls-certificate would have no effect: a process of --role=all is no tier"
        if self.role in ("pre", "predict", "post"):
            yield from self._tls_of_a_tier(is_guarded=all(tier))

    def _tls_of_a_tier(self, *, is_guarded: bool) -> Iterable[str]:
        """Its gRPC port is the other tiers' too, and its options must not promise more than it keeps."""
        if self.grpc_use_ssl or self.grpc_use_ssl_mutual:
            yield f"--role={self.role} takes --tier-tls-certificate in place of --grpc-use-ssl"
        asked = {
            "--tls-certificate": self.tls_certificate,
            "--api-keys": self.api_keys,
            "--jwt-jwks": self.jwt_jwks,
        }
        for flag, value in asked.items():
            if value and not is_guarded:
                yield (
                    f"{flag} of --role={self.role} needs --tier-tls-certificate, --tier-tls-key and "
                    "--tier-tls-ca: else whoever reaches its gRPC port could pass for a tier"
                )

    def _budgets(self) -> Iterable[str]:
        devices = [budget.device for budget in self.memory_budget]
        if self.idle_unload_secs and self.load_on_request == "false":
            yield "--idle-unload-secs cannot stand beside --load-on-request=false: nothing would come back"
        for device in dict.fromkeys(devices):
            if devices.count(device) > 1:
                yield f"--memory-budget is given {devices.count(device)} times for {device}: once is enough"


@dataclass(frozen=True, slots=True)
class Option:
    """How one field looks to an operator.

    default   as it would be written; empty for none
    allowed   what its value may be, in words
    """

    field: str
    group: str
    help: str
    default: str
    allowed: str
    is_flag: bool
    is_list: bool

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        return "TERCET_" + self.field.upper()


@cache
def options() -> Mapping[str, Option]:
    """Every option, by the name of its field, in the order of the help."""
    schemas = Settings.model_json_schema()["properties"]
    return {field: _option(field, schema) for field, schema in schemas.items()}


def _option(field: str, schema: Mapping[str, Any]) -> Option:
    return Option(
        field=field,
        group=schema["group"],
        help=schema["description"],
        default=_written(schema["default"]),
        allowed=_allowed(schema),
        is_flag=schema.get("type") == "boolean",
        is_list=schema.get("type") == "array",
    )


def _written(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default in (None, "", []) else str(default)


def _allowed(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("format") == "regex":
        return "a regular expression"
    if "pattern" in schema:
        return "the name of a header: letters, digits, '-', '_' and '.'"
    if schema.get("format") == "rights":
        return "none, or inference, control and metrics with commas"
    if schema.get("format") == "restrictions":
        return "API[,API...]:HEADER=VALUE"
    if schema.get("format") == "resources":
        return "NAME:COUNT or NAME:COUNT:DEVICE, with a count of at least 1 and the number of a device"
    if schema.get("format") == "endpoints":
        return "HOST:PORT, dns:///NAME:PORT or oip://HOST:PORT"
    if schema.get("format") == "budgets":
        return "DEVICE=SIZE, such as cpu=4GiB, cuda:0=70GiB, cpu=1500000000 (bytes) or cuda:0=80%"
    if schema.get("type") not in ("integer", "number"):
        return "text, not empty" if "minLength" in schema else "text"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    if "exclusiveMinimum" in schema:
        return f"{kind} above {schema['exclusiveMinimum']:g}"
    if "maximum" in schema:
        return f"{kind} from {schema['minimum']} to {schema['maximum']}"
    return f"{kind}, at least {schema['minimum']}"


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint for the end of a sentence: the known word that was probably meant."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def read(
    command_line: Mapping[str, object],
    environment: Mapping[str, str],
    fallback: Mapping[str, object] | None = None,
) -> Settings:
    """Join the sources, the first that names a field deciding it.

    `command_line` and `fallback` go by field name; `settings` on the command line, else TERCET_SETTINGS,
    is the path of the settings file. `fallback` is weaker than every source but the defaults.
    """
    options_given = {name: value for name, value in command_line.items() if name != "settings"}
    file = str(command_line.get("settings") or environment.get("TERCET_SETTINGS", ""))
    sources = (
        _Source(options_given, lambda name, value: f"{options()[name].flag}={value}"),
        _Source(_variables(environment), lambda name, value: f"{options()[name].variable}={value}"),
        _Source(_settings_file(file) if file else {}, lambda name, value: f"{name} = {value!r} in {file}"),
        _Source(fallback or {}, lambda name, value: f"{name}={value}"),
    )
    given: dict[str, object] = {}
    for source in reversed(sources):
        given.update(source.values)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsInvalid([_fault(dict(fault), sources) for fault in error.errors()]) from None


@dataclass(frozen=True, slots=True)
class _Source:
    """`written` gives a field and its value back as the operator of this source writes it."""

    values: Mapping[str, object]
    written: Callable[[str, object], str]


def _variables(environment: Mapping[str, str]) -> dict[str, object]:
    """The variables that are ours. An empty one counts as unset.

    For a Service named tercet-http, Kubernetes itself sets TERCET_HTTP_PORT=tcp://…: nobody's option.
    """
    found = {field: environment.get(option.variable, "") for field, option in options().items()}
    return {field: value for field, value in found.items() if value and not value.startswith("tcp://")}


def _settings_file(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsInvalid([f"the settings file {path} cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid([f"the settings file {path} is not TOML: {error}"]) from None


def _fault(fault: Mapping[str, Any], sources: Sequence[_Source]) -> str:
    if not fault["loc"]:
        return str(fault["ctx"]["error"])  # written by Settings itself, as whole sentences
    name = str(fault["loc"][0])
    written = next(source.written for source in sources if name in source.values)
    if fault["type"] == "extra_forbidden":
        return f"{written(name, fault['input'])}: there is no such setting{nearest(name, options())}"
    return f"{written(name, fault['input'])}: must be {options()[name].allowed}"
