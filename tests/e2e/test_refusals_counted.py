"""What callers are told in the place of an answer is counted, once, by the door and the error."""

import grpc
import pytest

from protos import inference_pb2
from tests.e2e.scrape import scrape
from tests.server_process import Server

SERVICE = "inference.GRPCInferenceService"


def told(server: Server, door: str, error: str) -> float:
    return sum(
        value
        for name, labels, value in scrape(server)
        if name == "tercet_refusals_total" and labels == {"door": door, "error": error}
    )


def call(server: Server, method: str, request: bytes) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=30)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/v2/models/nobody/infer", 404, "ModelNotFound"),
        ("/v2/models/double/infer", 400, "InvalidRequest"),
        ("/v2/nothing/here", 404, "RouteNotFound"),
    ],
)
def test_over_http(workshop: Server, path: str, status: int, error: str):
    before = told(workshop, "http", error)
    assert workshop.client.post(path, json={}).status_code == status
    assert told(workshop, "http", error) == before + 1


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata"])
def test_over_grpc(workshop: Server, method: str):
    message = {
        "ModelInfer": inference_pb2.ModelInferRequest(model_name="nobody"),
        "ModelMetadata": inference_pb2.ModelMetadataRequest(name="nobody"),
    }[method]
    before = told(workshop, "grpc", "ModelNotFound")
    with pytest.raises(grpc.RpcError, match="unknown model"):
        call(workshop, method, message.SerializeToString())
    assert told(workshop, "grpc", "ModelNotFound") == before + 1


def test_what_is_answered_is_not_counted(workshop: Server):
    def everything() -> list[tuple[dict[str, str], float]]:
        return [
            (labels, value) for name, labels, value in scrape(workshop) if name == "tercet_refusals_total"
        ]

    before = everything()
    assert workshop.client.get("/v2/models/double").status_code == 200
    assert everything() == before
