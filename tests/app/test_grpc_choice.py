"""Who answers `ModelInfer`, for everything that may be asked for."""

import pytest

from server.app.grpc_choice import GRPCIO_ALONE, GrpcFrontRefused, choose, needs_grpcio
from server.settings import Settings

AGE = ["--grpc-max-connection-age"]
HAVE_ALL = "it is installed, and nothing asked for needs grpcio"


@pytest.mark.parametrize(
    ("wanted", "installed", "need_grpcio", "front", "why"),
    [
        ("auto", True, [], "native", HAVE_ALL),
        ("native", True, [], "native", HAVE_ALL),
        ("grpcio", True, [], "grpcio", "--grpc-front=grpcio"),
        ("auto", False, [], "grpcio", "pygrpc-native is not installed"),
        ("auto", False, AGE, "grpcio", "pygrpc-native is not installed"),
        ("grpcio", False, [], "grpcio", "--grpc-front=grpcio"),
        ("grpcio", True, AGE, "grpcio", "--grpc-front=grpcio"),
        ("auto", True, AGE, "grpcio", "pygrpc-native does not have --grpc-max-connection-age"),
    ],
)
def test_the_fast_front_is_taken_where_it_can_do_what_is_asked_for(
    wanted, installed, need_grpcio, front, why
):
    assert choose(wanted, installed=installed, need_grpcio=need_grpcio) == (front, why)


@pytest.mark.parametrize(
    ("installed", "need_grpcio", "sentence"),
    [
        (False, [], "--grpc-front=native needs pygrpc-native: pip install 'tercet[fast]'"),
        (
            True,
            AGE,
            "--grpc-front=native cannot do what --grpc-max-connection-age asks for: "
            "leave one of them out, or take --grpc-front=grpcio",
        ),
    ],
)
def test_a_fast_front_that_cannot_be_had_is_refused(installed, need_grpcio, sentence):
    with pytest.raises(GrpcFrontRefused) as refusal:
        choose("native", installed=installed, need_grpcio=need_grpcio)
    assert str(refusal.value) == sentence


def test_what_grpcio_alone_can_do_is_asked_for_by_another_value_than_the_default():
    assert needs_grpcio(Settings()) == []
    assert needs_grpcio(Settings(grpc_max_connection_age=60_000, grpc_http2_max_ping_strikes=2)) == AGE
    assert needs_grpcio(Settings(grpc_keepalive_time=1000)) == []
    assert set(GRPCIO_ALONE) <= Settings.model_fields.keys()


def test_a_tier_answers_streams_by_grpcio_unless_it_is_told_otherwise():
    front, why = choose("auto", installed=True, need_grpcio=[], is_tier=True)
    assert (front, why) == ("grpcio", "other tiers ask by streams, which pygrpc-native only passes on")
    assert choose("native", installed=True, need_grpcio=[], is_tier=True).front == "native"


PAIR = {"certificate": "c.pem", "key": "k.pem"}


def test_tls_is_grpcios_on_the_port_that_has_it():
    files = {f"tls_{name}": path for name, path in PAIR.items()}
    assert needs_grpcio(Settings(**files)) == ["--tls-certificate"]
    assert needs_grpcio(Settings(grpc_use_ssl=True, grpc_server_cert="c", grpc_server_key="k")) == [
        "--grpc-use-ssl"
    ]
    tier = {f"tier_tls_{name}": path for name, path in {**PAIR, "ca": "ca.pem"}.items()}
    assert needs_grpcio(Settings(role="predict", **tier)) == ["--tier-tls-certificate"]
    assert needs_grpcio(Settings(role="gateway", predict_endpoints=["p:1"], **tier)) == []


def test_without_a_folder_for_its_socket_the_fast_front_is_left_out_and_the_log_says_what_brings_it_back():
    chosen = choose("auto", installed=True, need_grpcio=[], has_folder=False)
    assert chosen.front == "grpcio"
    assert "a writable /tmp" in chosen.why
    with pytest.raises(GrpcFrontRefused, match="mount a writable /tmp, or set TMPDIR"):
        choose("native", installed=True, need_grpcio=[], has_folder=False)
