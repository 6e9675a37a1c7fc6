"""Tokens, rates, Triton's restricted APIs, closed control and the audit line, on one server after another."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.e2e.test_refusals_counted import told
from tests.e2e_security.apis import BODY, INFER, METHODS, PATHS, SERVICE
from tests.e2e_security.audit import audit
from tests.e2e_security.keys import bearer, entry, write_keys
from tests.security.tokens import AUDIENCE, ISSUER, Issuer, key_set
from tests.server_process import Server, running


class Sworn(NamedTuple):
    server: Server
    issuer: Issuer
    jwks: Path
    keys: Path


@pytest.fixture(scope="module")
def sworn(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Sworn]:
    """A server that takes tokens and keys, of which one may ask no more than twice in a long while."""
    folder = tmp_path_factory.mktemp("sworn")
    issuer = Issuer()
    jwks = folder / "jwks.json"
    jwks.write_bytes(key_set(issuer.public()))
    slow = entry("slow", "key-of-the-slow", ["inference"], requests_per_second=0.001, burst=2)
    keys = write_keys(folder / "keys.json", slow)
    options = [
        f"--api-keys={keys}",
        f"--jwt-jwks={jwks}",
        f"--jwt-issuer={ISSUER}",
        f"--jwt-audience={AUDIENCE}",
        "--model-control-mode=explicit",
        "--load-model=iris",
        "--log-info=false",
    ]
    with running(folder / "log", model, options=options) as server:
        yield Sworn(server, issuer, jwks, keys)


def shows(secret: bytes | str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret if isinstance(secret, str) else secret.decode()}"}


def infer(server: Server, headers: dict[str, str]) -> int:
    return server.client.post("/v2/models/iris/infer", json=BODY, headers=headers).status_code


def infer_by_grpc(channel: grpc.Channel, headers: dict[str, str]) -> str:
    try:
        asked = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        asked(INFER.SerializeToString(), metadata=tuple(headers.items()), timeout=30)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_a_token_is_as_good_as_a_key_over_both_protocols(sworn):
    good = shows(sworn.issuer.token(("inference",), now=time.time()))
    idle = shows(sworn.issuer.token((), now=time.time()))
    late = shows(sworn.issuer.token(("inference",), now=time.time() - 7200))
    strange = shows(Issuer().token(("inference",), now=time.time()))
    with grpc.insecure_channel(sworn.server.grpc) as channel:
        for headers, status, code in (
            (good, 200, "OK"),
            (idle, 403, "PERMISSION_DENIED"),
            (late, 401, "UNAUTHENTICATED"),
            (strange, 401, "UNAUTHENTICATED"),
        ):
            for _ in range(3):
                assert infer(sworn.server, headers) == status
                assert infer_by_grpc(channel, headers) == code


def test_an_issuer_may_change_its_key(sworn):
    second = Issuer("second")
    before, after = (each.token(now=time.time()) for each in (sworn.issuer, second))
    assert infer(sworn.server, shows(before)) == 200
    new = sworn.jwks.with_suffix(".new")
    new.write_bytes(key_set(second.public()))
    new.replace(sworn.jwks)
    sworn.server.until(lambda: infer(sworn.server, shows(after)) == 200)
    assert infer(sworn.server, shows(before)) == 401
    new.write_bytes(key_set(sworn.issuer.public()))
    new.replace(sworn.jwks)
    sworn.server.until(lambda: infer(sworn.server, shows(before)) == 200)


def test_a_key_is_good_as_long_as_it_is_in_the_file(sworn):
    slow = entry("slow", "key-of-the-slow", ["inference"], requests_per_second=0.001, burst=2)
    assert infer(sworn.server, bearer("owner")) == 200
    write_keys(sworn.keys, slow, leave_out="owner")
    sworn.server.until(lambda: infer(sworn.server, bearer("owner")) == 401)
    sworn.keys.write_text("no JSON")
    sworn.server.until(lambda: "api_keys_unusable" in sworn.server.log)
    assert infer(sworn.server, bearer("asker")) == 200
    write_keys(sworn.keys, slow)
    sworn.server.until(lambda: infer(sworn.server, bearer("owner")) == 200)


def test_who_asks_too_often_is_told_when_to_come_back(sworn):
    headers = shows("key-of-the-slow")
    assert [infer(sworn.server, headers) for _ in range(2)] == [200, 200]
    answer = sworn.server.client.post("/v2/models/iris/infer", json=BODY, headers=headers)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 1000
    assert "'slow' asks too often" in answer.json()["error"]
    with grpc.insecure_channel(sworn.server.grpc) as channel:
        assert infer_by_grpc(channel, headers) == "RESOURCE_EXHAUSTED"
    assert infer(sworn.server, bearer("asker")) == 200


def test_every_request_on_a_stream_is_asked_who_sends_it(sworn):
    headers = shows("key-of-the-slow")
    assert 429 in [infer(sworn.server, headers) for _ in range(3)]
    answers: list[Any] = []
    with tritonclient.grpc.InferenceServerClient(sworn.server.grpc) as client:
        tensor = tritonclient.grpc.InferInput("measurements", [1, 4], "FP32")
        tensor._raw_content = bytes(16)
        client.start_stream(lambda result, error: answers.append(error), headers=headers)
        with suppress(InferenceServerException):  # the stream may have been refused before
            client.async_stream_infer("iris", [tensor])
        sworn.server.until(lambda: len(answers) == 1)
        client.stop_stream()
    assert "asks too often" in str(answers[0])


def test_every_order_is_written_down_whoever_gave_it_and_whatever_came_of_it(sworn):
    before = len(audit(sworn.server))
    load, missing = (f"/v2/repository/models/{name}/load" for name in ("iris", "nobody"))
    for path, who in ((load, "operator"), (missing, "operator"), (load, "asker"), (load, "stranger")):
        sworn.server.client.post(path, headers=bearer(who))
    with tritonclient.grpc.InferenceServerClient(sworn.server.grpc) as client:
        client.load_model("iris", headers=bearer("operator"))
        for who in ("asker", "stranger"):
            with pytest.raises(InferenceServerException):
                client.unload_model("iris", headers=bearer(who))
    sworn.server.until(lambda: len(audit(sworn.server)) >= before + 7)
    lines = audit(sworn.server)[before:]
    assert [
        tuple(line[field] for field in ("caller", "order", "model", "door", "outcome")) for line in lines
    ] == [
        ("operator", "load", "iris", "http", "done"),
        ("operator", "load", "nobody", "http", "failed"),
        ("asker", "load", "iris", "http", "denied"),
        ("unknown", "load", "iris", "http", "denied"),
        ("operator", "load", "iris", "grpc", "done"),
        ("asker", "unload", "iris", "grpc", "denied"),
        ("unknown", "unload", "", "grpc", "denied"),
    ]
    assert [line["status"] for line in lines] == [200, 500, 403, 401, 0, 7, 16]
    assert {line["peer"] for line in lines if line["door"] == "http"} == {"127.0.0.1"}
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines if line["door"] == "grpc")


# Triton's restricted APIs, and control that is closed without keys


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("restricted")
    locks: Sequence[str] = [
        "inference:infer-key=i",
        "model-repository,logging:admin-key=r",
        "health:probe-key=h",
        "statistics:stats-key=s",
    ]
    options = [
        *(f"--http-restricted-api={lock}" for lock in locks),
        *(f"--grpc-restricted-protocol={lock}" for lock in locks),
        "--anonymous-rights=inference,metrics",
        "--model-control-mode=explicit",
        "--load-model=iris",
    ]
    with running(folder / "log", model, options=options, wait=False) as server:
        probe = {"probe-key": "h"}
        server.until(lambda: _status(server, "/v2/health/ready", probe) == 200)
        yield server


def _status(server: Server, path: str, headers: dict[str, str]) -> int:
    try:
        return server.client.get(path, headers=headers).status_code
    except Exception:
        return 0


OF_API = {
    "infer-key": ("/v2/models/iris/infer", "/v2/models/iris/generate", "/v1/models/iris:predict"),
    "admin-key": ("/v2/repository/index",),
    "probe-key": ("/v2/health/live", "/v2/models/iris/ready"),
    "stats-key": ("/v2/models/stats", "/v2/models/iris/stats"),
}
VALUES = {"infer-key": "i", "admin-key": "r", "probe-key": "h", "stats-key": "s"}
OF_PROTOCOL = {
    "infer-key": ("ModelInfer",),
    "admin-key": ("RepositoryIndex",),
    "probe-key": ("ServerLive", "ModelReady", "Check"),
    "stats-key": ("ModelStatistics",),
}


@pytest.mark.parametrize("header", OF_API)
def test_a_restricted_api_is_closed_over_http_as_triton_closes_it(restricted, header):
    for path in PATHS:
        if path.path in OF_API[header]:
            for headers in ({}, {header: "wrong"}):
                answer = restricted.client.request(path.verb, path.path, json=path.body, headers=headers)
                assert answer.status_code == 403
                assert answer.json() == {"error": f"This API is restricted, expecting header '{header}'"}
            headers = {header.upper(): VALUES[header]}
            for _ in range(2):
                answer = restricted.client.request(path.verb, path.path, json=path.body, headers=headers)
                assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v2/repository/index%0A", "/v2/repository/models/iris/load%0a"])
def test_a_line_break_behind_a_path_opens_nothing(restricted, sworn, path):
    assert restricted.client.post(path).status_code in (401, 403)
    assert restricted.client.post(path, headers={"infer-key": "i"}).status_code in (401, 403)
    if "load" in path:
        assert sworn.server.client.post(path, headers=bearer("asker")).status_code == 403


@pytest.mark.parametrize("header", OF_PROTOCOL)
def test_a_restricted_protocol_is_closed_over_grpc_as_triton_closes_it(restricted, header):
    name = f"triton-grpc-protocol-{header}"
    with grpc.insecure_channel(restricted.grpc) as channel:
        for method in METHODS:
            if method.name in OF_PROTOCOL[header]:
                asked = channel.unary_unary(f"/{method.service}/{method.name}")
                for metadata in ((), ((header, VALUES[header]),), ((name, "wrong"),)):
                    with pytest.raises(grpc.RpcError) as refused:
                        asked(method.message.SerializeToString(), metadata=metadata, timeout=30)
                    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                    sentence = f"This protocol is restricted, expecting header '{name}'"
                    assert refused.value.details() == sentence
                asked(method.message.SerializeToString(), metadata=((name, VALUES[header]),), timeout=30)


def test_nvidias_clients_open_restricted_apis_with_headers(restricted):
    over_http = tritonclient.http.InferenceServerClient(restricted.http)
    assert over_http.get_inference_statistics(headers={"stats-key": "s"})["model_stats"]
    assert over_http.get_model_metadata("iris")["name"] == "iris"
    with tritonclient.grpc.InferenceServerClient(restricted.grpc) as over_grpc:
        headers = {"triton-grpc-protocol-stats-key": "s"}
        assert over_grpc.get_inference_statistics(headers=headers).model_stats
        with pytest.raises(InferenceServerException, match="restricted, expecting header"):
            over_grpc.get_inference_statistics()


def test_who_is_stopped_at_the_gate_is_counted_once_by_the_door(restricted):
    before = [told(restricted, door, "ApiRestricted") for door in ("http", "grpc")]
    assert restricted.client.post("/v2/repository/index").status_code == 403
    with (
        tritonclient.grpc.InferenceServerClient(restricted.grpc) as client,
        pytest.raises(InferenceServerException),
    ):
        client.get_model_repository_index()
    after = [told(restricted, door, "ApiRestricted") for door in ("http", "grpc")]
    assert after == [count + 1 for count in before]


def test_control_is_closed_where_the_anonymous_have_no_right_to_it(restricted):
    load = restricted.client.post("/v2/repository/models/iris/load", headers={"admin-key": "r"})
    assert load.status_code == 401
    with (
        tritonclient.grpc.InferenceServerClient(restricted.grpc) as client,
        pytest.raises(InferenceServerException) as refused,
    ):
        client.load_model("iris", headers={"triton-grpc-protocol-admin-key": "r"})
    assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
