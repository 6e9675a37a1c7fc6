"""Tiers that know each other by certificates: who has none of their authority is refused, on either side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest

from protos import stage_pb2
from tests.certificates import Authority, Pair
from tests.e2e_security.apis import BODY
from tests.e2e_security.audit import audit
from tests.e2e_security.keys import bearer, write_keys
from tests.e2e_security.tls import grpc_channel
from tests.server_process import Server
from tests.tier_processes import tier

STAGE = "/tercet.stage.v1.Stage"


def known_by(pair: Pair, ca: Path) -> Sequence[str]:
    return (
        f"--tier-tls-certificate={pair.certificate}",
        f"--tier-tls-key={pair.key}",
        f"--tier-tls-ca={ca}",
    )


class Guarded(NamedTuple):
    predict: Server
    gateway: Server
    authority: Authority
    other: Authority


@pytest.fixture(scope="module")
def tiers(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tiers")
    authority, other = Authority(folder), Authority(folder, "other")
    own = known_by(authority.pair("predict"), authority.ca)
    ahead = known_by(authority.pair("gateway"), authority.ca)
    explicit = ["--model-control-mode=explicit", "--load-model=iris"]
    with (
        tier(folder, "predict", model, options=[*own, *explicit]) as predict,
        tier(folder, "gateway", predict=[predict], options=ahead) as gateway,
    ):
        yield Guarded(predict, gateway, authority, other)


def test_requests_and_orders_go_from_tier_to_tier(tiers):
    assert tiers.gateway.client.post("/v2/models/iris/infer", json=BODY).status_code == 200
    assert tiers.gateway.client.post("/v2/repository/models/iris/load").status_code == 200
    assert tiers.gateway.client.post("/v2/models/iris/infer", json=BODY).status_code == 200


def test_a_server_that_asks_nobody_for_a_key_writes_orders_down_too(tiers):
    assert tiers.predict.client.post("/v2/repository/models/iris/load").status_code == 200
    tiers.predict.until(lambda: audit(tiers.predict))
    line = audit(tiers.predict)[-1]
    assert (line["caller"], line["order"], line["model"]) == ("anonymous", "load", "iris")


@pytest.mark.parametrize("method", ["Watch", "Control", "Exchange"])
@pytest.mark.parametrize("who", ["nobody", "stranger", "plain"])
def test_who_is_no_tier_is_refused(tiers, who, method):
    address, ca = tiers.predict.grpc, tiers.authority.ca
    stranger = tiers.other.pair("stranger") if who == "stranger" else None
    channel = grpc.insecure_channel(address) if who == "plain" else grpc_channel(address, ca, stranger)
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(f"{STAGE}/{method}")(iter([b""]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_tier_is_watched_by_who_has_a_certificate_of_its_authority(tiers):
    pair = tiers.authority.pair("watcher")
    with grpc_channel(tiers.predict.grpc, tiers.authority.ca, pair) as channel:
        reports = channel.unary_stream(f"{STAGE}/Watch")(
            stage_pb2.WatchRequest().SerializeToString(), timeout=10
        )
        assert stage_pb2.Report.FromString(next(iter(reports))).versions
        reports.cancel()


def test_why_a_gateway_is_not_ready_is_for_who_may_hear_of_models(tmp_path):
    keys = write_keys(tmp_path / "keys.json")
    options = [f"--api-keys={keys}", "--predict-endpoints=127.0.0.1:1"]
    with tier(tmp_path, "gateway", options=options, wait=False) as gateway:
        gateway.until(lambda: is_up(gateway))
        told = {
            who: gateway.client.get("/v2/health/ready", headers=bearer(who)).json()["error"]
            for who in ("nobody", "stranger", "scraper", "asker")
        }
    assert "predict" in told.pop("asker")
    assert set(told.values()) == {"the server is not ready"}


def is_up(server: Server) -> bool:
    try:
        return server.client.get("/v2/health/live").status_code == 200
    except httpx.HTTPError:
        return False
