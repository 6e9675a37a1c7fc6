"""TLS and mTLS on every door, with certificates that are replaced while clients are connected."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from protos import inference_pb2 as pb
from tests.certificates import Authority, Pair
from tests.e2e_security.apis import BODY, INFER, SERVICE
from tests.e2e_security.keys import bearer
from tests.e2e_security.tls import grpc_channel, is_ready, serial_of, trusting
from tests.server_process import ROOT, Server, running

VALUES = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)


class Secured(NamedTuple):
    server: Server
    authority: Authority
    client: Pair
    stranger: Pair


@pytest.fixture(scope="module", params=["native", "grpcio"])
def mutual(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: Path
) -> Iterator[Secured]:
    """A server whose clients have to show a certificate, with either front for gRPC."""
    folder = tmp_path_factory.mktemp("mutual")
    authority, other = Authority(folder), Authority(folder, "other")
    pair, client = authority.pair("server"), authority.pair("client")
    options = [
        f"--tls-certificate={pair.certificate}",
        f"--tls-key={pair.key}",
        f"--tls-client-ca={authority.ca}",
        f"--grpc-front={request.param}",
    ]
    with running(folder / "log", model, options=options, wait=False) as server:
        server.until(lambda: is_ready(server, trusting(authority.ca, client)))
        yield Secured(server, authority, client, other.pair("stranger"))


def live(channel: grpc.Channel) -> bytes:
    return channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=10)


def test_who_has_a_certificate_is_answered_over_both_protocols(mutual):
    server, authority, client, _ = mutual
    with httpx.Client(verify=trusting(authority.ca, client), base_url=f"https://{server.http}") as http:
        for _ in range(3):  # the second and third are known by their heads
            assert http.post("/v2/models/iris/infer", json=BODY).status_code == 200
    with grpc_channel(server.grpc, authority.ca, client) as channel:
        assert channel.unary_unary(f"/{SERVICE}/ModelInfer")(INFER.SerializeToString(), timeout=10)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_who_has_none_or_a_strange_one_is_not_answered(mutual, who):
    shows = mutual.stranger if who == "stranger" else None
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://{mutual.server.http}/v2/health/live", verify=trusting(mutual.authority.ca, shows))
    with (
        grpc_channel(mutual.server.grpc, mutual.authority.ca, shows) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        live(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_who_speaks_no_tls_is_not_answered(mutual):
    for address in (mutual.server.http, mutual.server.metrics):
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{address}/v2/health/live")
    with grpc.insecure_channel(mutual.server.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        live(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_metrics_port_speaks_tls_and_asks_for_no_certificate(mutual):
    context = trusting(mutual.authority.ca)
    for path in ("/v2/health/ready", "/metrics"):
        assert httpx.get(f"https://{mutual.server.metrics}{path}", verify=context).status_code == 200


def test_nvidias_clients_speak_tls_with_it(mutual):
    server, authority, client, _ = mutual
    files = {"ca_certs": str(authority.ca), "certfile": str(client.certificate), "keyfile": str(client.key)}
    over_http = tritonclient.http.InferenceServerClient(
        server.http, ssl=True, ssl_options=files, ssl_context_factory=lambda: trusting(authority.ca, client)
    )
    over_grpc = tritonclient.grpc.InferenceServerClient(
        server.grpc,
        ssl=True,
        root_certificates=str(authority.ca),
        private_key=str(client.key),
        certificate_chain=str(client.certificate),
    )
    for each, kind in ((over_http, tritonclient.http), (over_grpc, tritonclient.grpc)):
        tensor = kind.InferInput("measurements", [1, 4], "FP32")
        tensor.set_data_from_numpy(VALUES)
        assert each.infer("iris", [tensor]).as_numpy("label").tolist() == [[0]]
        each.close()


def test_a_certificate_is_replaced_without_losing_a_connection(mutual):
    server, authority, client, _ = mutual
    context = trusting(authority.ca, client)
    doors = {server.http: "http/1.1", server.metrics: "http/1.1", server.grpc: "h2"}
    before = {door: serial_of(door, context, protocol) for door, protocol in doors.items()}
    with (
        httpx.Client(verify=trusting(authority.ca, client), base_url=f"https://{server.http}") as http,
        grpc_channel(server.grpc, authority.ca, client) as channel,
    ):
        http.get("/v2/health/live")
        connection = http.get("/v2/health/live").extensions["network_stream"]
        assert live(channel)
        authority.pair("server")
        server.until(lambda: all(serial_of(door, context, doors[door]) != before[door] for door in doors))
        answer = http.get("/v2/health/live")
        assert answer.status_code == 200
        assert answer.extensions["network_stream"] is connection
        assert live(channel)


def test_a_certificate_that_cannot_be_used_leaves_the_one_before_it(mutual):
    server, authority, client, _ = mutual
    context = trusting(authority.ca, client)
    file = authority.pair("server").certificate
    server.until(lambda: is_ready(server, context))
    good = file.read_bytes()
    file.write_bytes(b"no certificate")
    server.until(lambda: "certificate_unusable" in server.log)
    assert is_ready(server, context)
    with grpc_channel(server.grpc, authority.ca, client) as channel:
        assert live(channel)
    file.write_bytes(good)


def test_an_authority_for_clients_is_replaced_too(tmp_path, model):
    folder = tmp_path
    authority, other = Authority(folder), Authority(folder, "other")
    pair, client, later = authority.pair("server"), authority.pair("client"), other.pair("later")
    clients = folder / "clients.pem"
    clients.write_bytes(authority.ca.read_bytes())
    options = [f"--tls-certificate={pair.certificate}", f"--tls-key={pair.key}", f"--tls-client-ca={clients}"]

    def comes_in(shows: Pair) -> tuple[bool, bool]:
        with grpc_channel(server.grpc, authority.ca, shows) as channel:
            try:
                over_grpc = bool(live(channel))
            except grpc.RpcError:
                over_grpc = False
        return over_grpc, is_ready(server, trusting(authority.ca, shows))

    with running(folder / "log", model, options=options, wait=False) as server:
        server.until(lambda: is_ready(server, trusting(authority.ca, client)))
        assert comes_in(client) == (True, True)
        assert comes_in(later) == (False, False)
        clients.write_bytes(other.ca.read_bytes())
        server.until(lambda: comes_in(later) == (True, True) and comes_in(client) == (False, False))


def test_a_client_that_is_idle_or_does_not_shake_hands_does_not_hold_up_the_exit(tmp_path, model):
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    options = [f"--tls-certificate={pair.certificate}", f"--tls-key={pair.key}"]
    context = trusting(authority.ca)
    with (
        httpx.Client(verify=context) as idle,
        running(tmp_path / "log", model, options=options, wait=False) as server,
    ):
        server.until(lambda: is_ready(server, context))
        assert idle.get(f"https://{server.http}/v2/health/live").status_code == 200
        host, port = server.grpc.split(":")
        with socket.create_connection((host, int(port))), grpc_channel(server.grpc, authority.ca) as channel:
            assert live(channel)
            server.terminate()
            assert server.wait(15) == 0


def test_a_large_message_and_many_at_once_go_through_tls(tmp_path, model):
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    options = [f"--tls-certificate={pair.certificate}", f"--tls-key={pair.key}"]
    with running(tmp_path / "log", model, options=options, wait=False) as server:
        server.until(lambda: is_ready(server, trusting(authority.ca)))
        assert "nothing asked for needs grpcio" in server.log
        with grpc_channel(server.grpc, authority.ca) as channel:
            ask = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            one = ask(INFER.SerializeToString(), timeout=10)
            calls = [ask.future(INFER.SerializeToString(), timeout=30) for _ in range(500)]
            assert {call.result() for call in calls} == {one}
            many = pb.ModelInferRequest.FromString(INFER.SerializeToString())
            many.inputs[0].shape[0] = 100_000
            many.inputs[0].contents.fp32_contents.extend([0.0] * 399_996)
            with pytest.raises(grpc.RpcError) as refused:
                ask(many.SerializeToString(), timeout=30)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert ask(INFER.SerializeToString(), timeout=10) == one


def test_tritons_own_options_close_grpc_alone(tmp_path, model):
    authority = Authority(tmp_path)
    pair, client = authority.pair("server"), authority.pair("client")
    options = [
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={pair.certificate}",
        f"--grpc-server-key={pair.key}",
        f"--grpc-root-cert={authority.ca}",
    ]
    with running(tmp_path / "log", model, options=options) as server:  # ready over plain HTTP
        with grpc_channel(server.grpc, authority.ca, client) as channel:
            assert live(channel)
        with grpc_channel(server.grpc, authority.ca) as channel, pytest.raises(grpc.RpcError):
            live(channel)


def test_a_server_with_a_bad_certificate_does_not_start_and_says_why(tmp_path, model):
    authority = Authority(tmp_path)
    files = (authority.pair("server").certificate, authority.pair("other").key)
    options = [f"--tls-certificate={files[0]}", f"--tls-key={files[1]}"]
    with running(tmp_path / "log", model, options=options, wait=False) as server:
        assert server.wait() == 1
        assert f"tercet: {files[0]} and {files[1]} are no certificate and its key" in server.log
        assert "Traceback" not in server.log


def test_kserves_clients_show_keys_and_certificates(mutual, guarded):
    secure = {"http": mutual.server.http, "grpc": mutual.server.grpc, "ca": str(mutual.authority.ca)}
    files = {"certificate": str(mutual.client.certificate), "key": str(mutual.client.key)}
    keyed = {"http": guarded.http, "grpc": guarded.grpc}
    asked = [
        {**secure, "files": files},
        {**keyed, "headers": bearer("asker")},
        {**keyed, "headers": bearer("operator")},
        keyed,
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.e2e_security.kserve_calls", json.dumps(asked)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    good = [[[0]], [[0]]]
    assert json.loads(ended.stdout.splitlines()[-1]) == [
        good,
        good,
        [403, "PERMISSION_DENIED"],
        [401, "UNAUTHENTICATED"],
    ]
