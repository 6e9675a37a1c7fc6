"""Who answers `ModelInfer`, for everything that may be asked for."""

import pytest

from server.app.grpc_choice import GRPCIO_ALONE, GrpcFrontRefused, choose, chosen_by, needs_grpcio
from server.settings import Settings

PACKED = ["--grpc-infer-response-compression-level"]
HAVE_ALL = "nothing asked for needs grpcio"


@pytest.mark.parametrize(
    ("wanted", "need_grpcio", "front", "why"),
    [
        ("auto", [], "native", HAVE_ALL),
        ("native", [], "native", HAVE_ALL),
        ("grpcio", [], "grpcio", "--grpc-front=grpcio"),
        ("grpcio", PACKED, "grpcio", "--grpc-front=grpcio"),
        ("auto", PACKED, "grpcio", "the native front does not have --grpc-infer-response-compression-level"),
    ],
)
def test_the_fast_front_is_taken_where_it_can_do_what_is_asked_for(wanted, need_grpcio, front, why):
    assert choose(wanted, need_grpcio=need_grpcio) == (front, why)


def test_a_fast_front_that_cannot_be_had_is_refused():
    with pytest.raises(GrpcFrontRefused) as refusal:
        choose("native", need_grpcio=PACKED)
    assert str(refusal.value) == (
        "--grpc-front=native cannot do what --grpc-infer-response-compression-level asks for: "
        "leave one of them out, or take --grpc-front=grpcio"
    )


def test_what_grpcio_alone_can_do_is_asked_for_by_another_value_than_the_default():
    assert needs_grpcio(Settings()) == []
    assert (
        needs_grpcio(Settings(grpc_infer_response_compression_level="low", grpc_max_connection_age=9))
        == PACKED
    )
    assert needs_grpcio(Settings(grpc_keepalive_time=1000)) == []
    assert set(GRPCIO_ALONE) <= Settings.model_fields.keys()


def test_a_tier_answers_streams_by_grpcio_unless_it_is_told_otherwise():
    front, why = choose("auto", need_grpcio=[], is_tier=True)
    assert (front, why) == ("grpcio", "other tiers ask by streams, which the native front only passes on")
    assert choose("native", need_grpcio=[], is_tier=True).front == "native"


def test_tls_needs_no_grpcio():
    assert chosen_by(Settings(tls_certificate="c.pem", tls_key="k.pem")).front == "native"
    assert chosen_by(Settings(grpc_use_ssl=True, grpc_server_cert="c", grpc_server_key="k")).front == "native"


def test_without_a_folder_for_its_socket_the_fast_front_is_left_out_and_the_log_says_what_brings_it_back():
    chosen = choose("auto", need_grpcio=[], has_folder=False)
    assert chosen.front == "grpcio"
    assert "a writable /tmp" in chosen.why
    with pytest.raises(GrpcFrontRefused, match="mount a writable /tmp, or set TMPDIR"):
        choose("native", need_grpcio=[], has_folder=False)
