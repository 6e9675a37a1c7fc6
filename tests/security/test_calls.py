"""The tables of calls, against the doors that they are about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import inference_pb2
from server.api.server_operations import server_operations
from server.security.calls import GRPC, HTTP, SERVICE, UNKNOWN, grpc_call, http_call
from server.security.rights import Right

SEGMENT = st.sampled_from(["v2", "v1", "models", "repository", "health", "ready", "load", "x", "", ".", "*"])


def test_every_method_of_the_service_is_in_the_table():
    service = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {method.name for method in service.methods} - GRPC.keys() == set()


def test_every_path_of_the_openapi_document_is_in_the_table():
    for path, verbs in server_operations([]):
        for verb in verbs:
            filled = path.replace("{model}", "m").replace("{version}", "1").replace("{region}", "r")
            assert http_call(verb.upper(), filled) is not UNKNOWN, (verb, path)


def test_a_line_break_behind_a_path_makes_it_no_other_call_as_the_router_does_not_see_it():
    for path, verbs in server_operations([]):
        filled = path.replace("{model}", "m").replace("{version}", "1").replace("{region}", "r")
        for verb in verbs:
            assert http_call(verb.upper(), filled + "\n") is http_call(verb.upper(), filled)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/health/live/",
        "/v2/health/ready/x",
        "//v2/health/live",
        "/v2/health/../models/iris",
        "/docs/x",
        "/v2/models/a/b/config",
        "/v2/repository/models/a/b/load",
        "",
    ],
)
def test_a_path_that_only_looks_like_an_open_one_is_closed(path):
    assert not http_call("GET", path).is_open


@given(st.lists(SEGMENT, max_size=7).map("/".join), st.sampled_from(["GET", "POST", "HEAD", "PUT"]))
def test_nothing_is_open_that_the_table_does_not_name(path, verb):
    call = http_call(verb, path)
    assert not call.is_open or path in HTTP


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "post"])
def test_whatever_is_no_get_counts_as_a_change(verb):
    for path in ("/v2/models/m/scheduling", "/v2/repository/models/m/labels"):
        assert http_call(verb, path).rights == {Right.CONTROL}


def test_methods_of_other_services_are_closed():
    for method in (SERVICE + "NoSuch", "/other.Service/ServerLive", "/grpc.health.v1.Health2/Check", "", "/"):
        assert grpc_call(method) is UNKNOWN


def test_what_is_open_to_everybody_is_health_and_what_names_no_model():
    paths = {path for path in HTTP if http_call("GET", path).is_open or http_call("POST", path).is_open}
    assert paths == {"/", "/v2/health/live", "/v2/health/ready", "/docs", "/docs/assets/**"}
    assert {method for method in GRPC if grpc_call(SERVICE + method).is_open} == {"ServerLive", "ServerReady"}
