"""What the benchmark of TLS asks, it asks over TLS."""

import pytest

from benchmarks.ask import Refused, ask
from benchmarks.call import Door
from benchmarks.load import load
from benchmarks.models import MODELS, lay
from benchmarks.runs import Question
from benchmarks.server_under_test import tercet
from benchmarks.tls.__main__ import options
from benchmarks.tls.certificate import sign


def test_a_server_with_a_certificate_is_asked_over_tls(tmp_path):
    tiny, signed = MODELS["tiny"], sign(tmp_path)
    lay([tiny], tmp_path / "models")
    question = Question("tiny", tiny.row(), Door.GRPC, 2)
    with tercet(tmp_path / "models", tmp_path / "log", options("native", signed)) as server:
        with pytest.raises(Refused):
            ask(question.to(server))
        server.grpc_ca = signed.certificate
        call = question.to(server)
        reply = ask(call)
        assert reply.outputs["OUTPUT"].shape[0] == 1
        sample = load(call, clients=2, seconds=1, reply_bytes=reply.body_bytes)
        assert sample.requests > 10
        assert not sample.errors
