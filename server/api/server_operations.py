"""The operations that are no question to one model: health, metadata, versions, repository, settings."""

from collections.abc import Iterator, Sequence

from server.api.model_operations import EVENTS, HEADER_LENGTH, TENSORS
from server.api.operation import INFER, INFERENCE, TIMEOUT, Json, as_json, in_path, in_query, operation
from server.domain.catalogue import VersionFacts
from server.wire import server_schema as schema

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"
ANY: Json = {}
TEXT: Json = {"type": "string"}
OBJECT: Json = {"type": "object"}
NOTHING: Json = {}
"""The content of an answer without a body."""


def server_operations(serving: Sequence[VersionFacts]) -> Iterator[tuple[str, Json]]:
    """All of them; models and versions can be chosen among those that serve."""
    model = in_path("model", "the name of a model", {facts.model for facts in serving})
    version = in_path(
        "version", "the number of a version, or a label", {str(facts.version) for facts in serving}
    )
    yield from _health(model)
    yield from _models(model, version)
    yield from _versions(model, version)
    yield from _repository()
    yield from _settings(model)
    yield from _shared_memory()


def _health(model: Json) -> Iterator[tuple[str, Json]]:
    yield "/", _get("server", "Whether the process is up, as KServe's V1 clients ask", schema.ALIVE)
    yield "/openapi.json", _get("server", "This document", OBJECT)
    page = operation("server", "This document as a page", {"text/html": {"schema": TEXT}}, [])
    yield "/docs", {"get": page}
    yield "/v2", _get("server", "The server's name, version and extensions", schema.SERVER)
    yield "/v2/health/live", _get("server", "Whether the process is up", schema.LIVE, 503)
    yield "/v2/health/ready", _get("server", "Whether it serves what it has to", schema.READY, 400, 503)
    for protocol in ("/v1", "/v2"):
        yield f"{protocol}/models", _get("server", "The names of the models that serve", schema.MODELS)
    ready = _get("server", "Whether a model serves, by KServe's V1", schema.READY, 404, 503, named=[model])
    yield "/v1/models/{model}", ready
    yield "/v1/models/{model}:explain", _not_offered("server", "explanations by KServe's V1", [model])


def _models(model: Json, version: Json) -> Iterator[tuple[str, Json]]:
    yield "/v2/models/stats", _get("server", "What all models have done so far", schema.STATISTICS)
    for base, whose, named in (
        (MODEL, "A model's", [model]),
        (VERSION, "A version's", [model, version]),
    ):
        told = {
            "": ("inputs and outputs", schema.MODEL, (400, 404, 503)),
            "/config": ("configuration in force", schema.CONFIGURATION, (400, 404, 503)),
            "/ready": ("readiness", schema.READY, (400, 404)),
            "/stats": ("statistics", schema.STATISTICS, (400, 404)),
        }
        for path, (what, answer, refusals) in told.items():
            yield base + path, _get("server", f"{whose} {what}", answer, *refusals, named=named)


def _versions(model: Json, version: Json) -> Iterator[tuple[str, Json]]:
    """Each way of asking, of one version of any model; the operations of a model have its schemas."""
    named = [model, version, TIMEOUT]
    yield f"{VERSION}/predict", _ask("in plain JSON", as_json(ANY), named, ANY)
    inferred = {**as_json(schema.INFERRED), **TENSORS}
    infer = _ask("by the Open Inference Protocol", inferred, [*named, HEADER_LENGTH], refusals=INFER)
    yield f"{VERSION}/infer", infer
    yield f"{VERSION}/generate", _ask("by Triton's generate extension", as_json(schema.GENERATED), named)
    yield f"{VERSION}/generate_stream", _ask("by Triton's generate extension, for events", EVENTS, named)
    v1 = _ask("by KServe's V1 protocol", as_json(schema.PREDICTED), named)
    yield "/v1/models/{model}/versions/{version}:predict", v1


def _repository() -> Iterator[tuple[str, Json]]:
    tag = "repository"
    every = "Every model that is known, with its state"
    index = _order(tag, every, as_json(schema.INDEX), (400, 413), schema.INDEX_REQUEST)
    yield "/v2/repository/index", index
    named = [in_path("model", "the name of a model, serving or not")]
    load, unload = "/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"
    serve = "Serve a model (control mode explicit)"
    yield load, _order(tag, serve, NOTHING, (400, 404, 413, 500, 503), schema.LOAD_REQUEST, named)
    serve_no_longer = "Serve a model no longer (control mode explicit)"
    yield unload, _order(tag, serve_no_longer, NOTHING, (400, 404, 413, 503), schema.UNLOAD_REQUEST, named)
    yield from _passages(named)
    repository = in_path("repository", "the name of a repository")
    other = "/v2/repository/{repository}"
    yield f"{other}/index", _not_offered(tag, "naming a repository", [repository])
    for verb in ("load", "unload"):
        path = f"{other}/models/{{model}}/{verb}"
        yield path, _not_offered(tag, "naming a repository", [repository, *named])


def _passages(named: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """How models came and went. The stream is told in words: whoever tries it out would never see its end."""
    summary = "What happened to models; with Accept: text/event-stream, as it happens"
    asked = [
        in_query(
            "since", "after this event, 0 for all that are kept; the latest ones if not given", schema.SINCE
        ),
        in_query("model", "of this model alone", TEXT),
        in_query("limit", "events at most", schema.LIMIT),
    ]
    happened = {**as_json(schema.EVENTS), **EVENTS}
    answer = operation("repository", summary, happened, (400, 429), parameters=asked)
    yield "/v2/repository/events", {"get": answer}
    base = "/v2/repository/models/{model}"
    history = _get("repository", "What became of a model's versions", schema.HISTORY, 404, named=named)
    yield f"{base}/versions", history
    labels = as_json(schema.LABELS)
    change = _order(
        "repository", "Put labels on versions", labels, (400, 404, 413), schema.LABELS_REQUEST, named
    )
    shown = _get("repository", "A model's labels", schema.LABELS, 404, named=named)
    yield f"{base}/labels", {**shown, **change}


def _settings(model: Json) -> Iterator[tuple[str, Json]]:
    logging = as_json(schema.LOGGING)
    change = _order("settings", "Change the log", logging, (400, 413, 501), schema.LOGGING_REQUEST)
    yield "/v2/logging", {**_get("settings", "What the log has", schema.LOGGING), **change}
    wanted = _get("settings", "What is wanted of a model's answers", schema.SCHEDULING, 404, named=[model])
    say, says = "Say it until it is taken back", as_json(schema.SCHEDULING)
    change = _order("settings", say, says, (400, 404, 413), schema.SCHEDULING_REQUEST, [model])
    yield f"{MODEL}/scheduling", {**wanted, **change}
    for base, named in (("/v2", []), (MODEL, [model])):
        codes = (400, 404, 503) if named else (400,)
        traces = _get("settings", "Which requests are traced", schema.TRACES, *codes, named=named)
        says, wanted = as_json(schema.TRACES), schema.TRACES_REQUEST
        change = _order("settings", "Change it", says, (*codes, 413, 501), wanted, named)
        yield f"{base}/trace/setting", {**traces, **change}


def _shared_memory() -> Iterator[tuple[str, Json]]:
    region = in_path("region", "the name of a region of shared memory")
    for kind in ("system", "cuda"):
        memory = f"/v2/{kind}sharedmemory"
        for base, named in ((memory, []), (f"{memory}/region/{{region}}", [region])):
            summary = f"The regions of {kind} shared memory, of which there are none"
            yield f"{base}/status", _get("settings", summary, schema.REGIONS, 404, named=named)
            for verb in ("register", "unregister"):
                yield f"{base}/{verb}", _not_offered("settings", f"{kind} shared memory", named)


def _get(tag: str, summary: str, answer: Json, *refusals: int, named: Sequence[Json] = ()) -> Json:
    return {"get": operation(tag, summary, as_json(answer), refusals, parameters=named)}


def _ask(
    how: str, answer: Json, named: Sequence[Json], body: Json = OBJECT, refusals: Sequence[int] = INFERENCE
) -> Json:
    """A question to one version; `answer` is content, `body` a schema."""
    summary = f"Ask one version of a model {how}"
    asked = operation("one version", summary, answer, refusals, parameters=named, body=as_json(body))
    return {"post": asked}


def _order(
    tag: str, summary: str, answer: Json, refusals: Sequence[int], body: Json, named: Sequence[Json] = ()
) -> Json:
    """What may be asked without a body; `answer` is content, `body` a schema."""
    content = as_json(body)
    order = operation(tag, summary, answer, refusals, parameters=named, body=content, body_required=False)
    return {"post": order}


def _not_offered(tag: str, what: str, named: Sequence[Json]) -> Json:
    return {"post": operation(tag, f"Not offered: {what}", None, [404, 501], parameters=named)}
