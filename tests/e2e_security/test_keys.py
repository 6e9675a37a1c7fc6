"""Who shows a key may do what its rights open, over both protocols; who has none learns nothing."""

import socket

import grpc
import httpx
import pytest
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.e2e_security.apis import METHODS, OPEN, PATHS, SERVICE, Method, Path
from tests.e2e_security.keys import KEYS, bearer
from tests.server_process import Server

CALLERS = ["nobody", "stranger", *KEYS]
STOPPED_OVER_HTTP = {401, 403}
STOPPED_OVER_GRPC = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def ask(server: Server, path: Path, headers: dict[str, str]) -> httpx.Response:
    return server.client.request(path.verb, path.path, json=path.body, headers=headers)


def call(channel: grpc.Channel, method: Method, headers: dict[str, str]) -> tuple[grpc.StatusCode, str]:
    asked = channel.unary_unary(f"/{method.service}/{method.name}")
    try:
        asked(method.message.SerializeToString(), metadata=tuple(headers.items()), timeout=30)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


def may(caller: str, rights: frozenset[str]) -> bool:
    return rights == OPEN or (caller in KEYS and not rights.isdisjoint(KEYS[caller][1]))


@pytest.fixture(scope="module")
def channel(guarded: Server):
    with grpc.insecure_channel(guarded.grpc) as channel:
        yield channel


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.verb} {path.path}")
def test_over_http_each_path_is_open_to_whom_its_right_is_given(guarded, path, caller):
    answer = ask(guarded, path, bearer(caller))
    if may(caller, path.rights):
        assert answer.status_code not in STOPPED_OVER_HTTP
    else:
        assert answer.status_code == (403 if caller in KEYS else 401)
        assert "iris" not in answer.text


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_over_grpc_each_method_is_open_to_whom_its_right_is_given(channel, method, caller):
    code, details = call(channel, method, bearer(caller))
    if may(caller, method.rights):
        assert code not in STOPPED_OVER_GRPC
    else:
        stopped = "PERMISSION_DENIED" if caller in KEYS else "UNAUTHENTICATED"
        assert code.name == stopped
        assert "iris" not in details


@pytest.mark.parametrize("caller", CALLERS)
def test_the_metrics_are_for_who_has_the_right_to_them(guarded, caller):
    status = httpx.get(f"http://{guarded.metrics}/metrics", headers=bearer(caller)).status_code
    expected = 200 if may(caller, frozenset({"metrics"})) else 403 if caller in KEYS else 401
    assert status == expected


def test_the_metrics_port_says_to_everybody_how_the_process_is(guarded):
    assert httpx.get(f"http://{guarded.metrics}/v2/health/ready").status_code == 200


@pytest.mark.parametrize("caller", ["nobody", "stranger", "scraper"])
def test_a_refusal_is_the_same_for_a_model_that_is_there_and_one_that_is_not(guarded, channel, caller):
    answers = {
        (answer.status_code, answer.text)
        for model in ("iris", "nobody")
        for answer in [ask(guarded, Path(OPEN, "GET", f"/v2/models/{model}"), bearer(caller))]
    }
    assert len(answers) == 1
    told = set()
    for method in METHODS:
        if method.name == "ModelInfer":
            told.add(call(channel, method, bearer(caller)))
            other = type(method.message)()
            other.CopyFrom(method.message)
            other.model_name = "nobody"
            told.add(call(channel, method._replace(message=other), bearer(caller)))
    assert len(told) == 1


def test_a_key_may_be_shown_by_a_header_of_its_own(guarded):
    assert guarded.client.get("/v2", headers={"X-Api-Key": KEYS["asker"][0]}).status_code == 200


def test_who_is_not_known_is_told_how_to_show_a_key(guarded):
    answer = guarded.client.get("/v2")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "x-api-key" in answer.json()["error"]


def test_the_door_for_tiers_is_shut_where_nobody_is_a_tier(channel):
    for method in ("Control", "Watch", "Exchange"):
        asked = channel.stream_stream(f"/tercet.stage.v1.Stage/{method}")
        with pytest.raises(grpc.RpcError) as refused:
            list(asked(iter([b""]), metadata=tuple(bearer("owner").items()), timeout=30))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_reflection_tells_everybody_which_services_there_are(channel):

    asked = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    question = pb.ServerReflectionRequest(list_services="").SerializeToString()
    (answer,) = asked(iter([question]), timeout=30)
    listed = pb.ServerReflectionResponse.FromString(answer).list_services_response.service
    assert SERVICE in {service.name for service in listed}


@pytest.mark.parametrize("who", ["nobody", "stranger", "operator"])
def test_who_may_not_ask_is_refused_by_the_head_alone(guarded, who):
    host, port = guarded.http.split(":")
    lines = ["POST /v2/models/iris/infer HTTP/1.1", "Host: h", "Content-Length: 1000000"]
    lines += [f"{name}: {value}" for name, value in bearer(who).items()]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 40")
