"""Who answers `ModelInfer`, for everything that may be asked for."""

import pytest

from server.app.grpc_choice import GrpcFrontRefused, choose, chosen_by
from server.settings import Settings

HAVE_ALL = "nothing asked for needs grpcio"


@pytest.mark.parametrize(
    ("wanted", "front", "why"),
    [
        ("auto", "native", HAVE_ALL),
        ("native", "native", HAVE_ALL),
        ("grpcio", "grpcio", "--grpc-front=grpcio"),
    ],
)
def test_the_fast_front_is_taken_unless_another_is_asked_for(wanted, front, why):
    assert choose(wanted) == (front, why)


@pytest.mark.parametrize(
    "asked",
    [
        {"grpc_infer_response_compression_level": "high"},
        {"grpc_max_connection_age": 9, "grpc_keepalive_time": 1000},
        {"tls_certificate": "c.pem", "tls_key": "k.pem"},
        {"grpc_use_ssl": True, "grpc_server_cert": "c.pem", "grpc_server_key": "k.pem"},
    ],
)
def test_no_option_needs_grpcio(asked):
    assert chosen_by(Settings(**asked)) == ("native", HAVE_ALL)


def test_a_tier_answers_streams_by_grpcio_unless_it_is_told_otherwise():
    front, why = choose("auto", is_tier=True)
    assert (front, why) == ("grpcio", "other tiers ask by streams, which the native front only passes on")
    assert choose("native", is_tier=True).front == "native"
    assert chosen_by(Settings(role="predict")).front == "grpcio"


def test_without_a_folder_for_its_socket_the_fast_front_is_left_out_and_the_log_says_what_brings_it_back():
    chosen = choose("auto", has_folder=False)
    assert chosen.front == "grpcio"
    assert "a writable /tmp" in chosen.why
    with pytest.raises(GrpcFrontRefused, match="mount a writable /tmp, or set TMPDIR"):
        choose("native", has_folder=False)
