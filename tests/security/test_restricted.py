import pytest

from server.domain.errors import ApiRestricted
from server.security.restricted import RestrictionInvalid, read_grpc, read_http
from server.security.rights import Api


def refusal(restrictions, api, *headers) -> str:
    with pytest.raises(ApiRestricted) as refused:
        restrictions.check(api, headers, "somebody")
    return str(refused.value)


def test_an_api_is_open_to_who_sends_the_header():
    http = read_http(["model-repository,logging:Admin-Key=a=b:c"])
    http.check(Api.LOGGING, [(b"admin-key", b"a=b:c")], "somebody")
    http.check(Api.INFERENCE, [], "somebody")
    http.check(None, [], "somebody")
    for headers in ([], [(b"admin-key", b"wrong")], [(b"other", b"a=b:c")]):
        assert refusal(http, Api.MODEL_REPOSITORY, *headers) == (
            "This API is restricted, expecting header 'admin-key'"
        )


def test_over_grpc_the_header_has_tritons_prefix():
    grpc = read_grpc(["inference:infer-key=secret", "health:probe=p"])
    grpc.check(Api.INFERENCE, [("triton-grpc-protocol-infer-key", "secret")], "somebody")
    assert refusal(grpc, Api.INFERENCE, ("infer-key", "secret")) == (
        "This protocol is restricted, expecting header 'triton-grpc-protocol-infer-key'"
    )
    assert Api.HEALTH in grpc
    assert Api.LOGGING not in grpc


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        (["logging"], "must be"),
        (["logging:key"], "must be"),
        ([":key=value"], "must be"),
        (["logging:=value"], "must be"),
        (["repository:key=value"], "there is no API 'repository'"),
        (["logging,:key=value"], "there is no API ''"),
        (["logging,trace,logging:key=value"], "'logging' can be in one group alone"),
        (["logging:a=b", "trace,logging:c=d"], "'logging' can be in one group alone"),
    ],
)
def test_a_wrong_group_is_told(groups, why):
    for read, option in ((read_http, "--http-restricted-api"), (read_grpc, "--grpc-restricted-protocol")):
        with pytest.raises(RestrictionInvalid, match=why) as told:
            read(groups)
        assert str(told.value).startswith(option)
