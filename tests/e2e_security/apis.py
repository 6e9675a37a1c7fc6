"""Every call that a server answers, over both protocols, with the rights of which one opens it."""

from typing import NamedTuple

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from protos import inference_pb2 as pb

OPEN: frozenset[str] = frozenset()
ASK = frozenset({"inference"})
READ = frozenset({"inference", "control"})
CONTROL = frozenset({"control"})

BODY = {
    "inputs": [{"name": "measurements", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]
}
PLAIN = {"measurements": [5.1, 3.5, 1.4, 0.2]}
SERVICE = "inference.GRPCInferenceService"


class Path(NamedTuple):
    rights: frozenset[str]
    verb: str
    path: str
    body: object = None


class Method(NamedTuple):
    rights: frozenset[str]
    name: str
    message: Message
    service: str = SERVICE


def _infer() -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(fp32_contents=[5.1, 3.5, 1.4, 0.2])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="measurements", datatype="FP32", shape=[1, 4], contents=contents
    )
    return pb.ModelInferRequest(model_name="iris", inputs=[tensor])


INFER = _infer()

PATHS = [
    Path(OPEN, "GET", "/"),
    Path(OPEN, "GET", "/v2/health/live"),
    Path(OPEN, "GET", "/v2/health/ready"),
    Path(OPEN, "GET", "/docs"),
    Path(OPEN, "GET", "/docs/assets/swagger-ui.css"),
    Path(ASK, "POST", "/v2/models/iris/infer", BODY),
    Path(ASK, "POST", "/v2/models/iris/versions/1/infer", BODY),
    Path(ASK, "POST", "/v2/models/iris/predict", PLAIN),
    Path(ASK, "POST", "/v2/models/iris/generate", PLAIN),
    Path(ASK, "POST", "/v2/models/iris/generate_stream", PLAIN),
    Path(ASK, "POST", "/v1/models/iris:predict", {"instances": [PLAIN]}),
    Path(ASK, "POST", "/v1/models/iris:explain", {}),
    Path(ASK, "GET", "/v2/systemsharedmemory/status"),
    Path(ASK, "POST", "/v2/cudasharedmemory/region/r/register", {}),
    Path(READ, "GET", "/openapi.json"),
    Path(READ, "GET", "/v2"),
    Path(READ, "GET", "/v2/models"),
    Path(READ, "GET", "/v1/models"),
    Path(READ, "GET", "/v1/models/iris"),
    Path(READ, "GET", "/v2/models/iris"),
    Path(READ, "GET", "/v2/models/iris/versions/1"),
    Path(READ, "GET", "/v2/models/iris/ready"),
    Path(READ, "GET", "/v2/models/iris/config"),
    Path(READ, "GET", "/v2/models/iris/stats"),
    Path(READ, "GET", "/v2/models/stats"),
    Path(READ, "GET", "/v2/models/iris/scheduling"),
    Path(READ, "POST", "/v2/repository/index"),
    Path(READ, "GET", "/v2/repository/models/iris/versions"),
    Path(READ, "GET", "/v2/repository/models/iris/labels"),
    Path(READ, "GET", "/no/such/path"),
    Path(CONTROL, "POST", "/v2/repository/models/iris/load", {}),
    Path(CONTROL, "POST", "/v2/repository/models/nobody/unload", {}),
    Path(CONTROL, "POST", "/v2/repository/main/models/iris/load", {}),
    Path(CONTROL, "POST", "/v2/repository/models/iris/labels", {"labels": {}}),
    Path(CONTROL, "GET", "/v2/repository/events"),
    Path(CONTROL, "POST", "/v2/models/iris/scheduling", {}),
    Path(CONTROL, "GET", "/v2/logging"),
    Path(CONTROL, "POST", "/v2/logging", {}),
    Path(CONTROL, "GET", "/v2/trace/setting"),
    Path(CONTROL, "POST", "/v2/models/iris/trace/setting", {}),
]

METHODS = [
    Method(OPEN, "ServerLive", pb.ServerLiveRequest()),
    Method(OPEN, "ServerReady", pb.ServerReadyRequest()),
    Method(OPEN, "Check", health_pb2.HealthCheckRequest(), "grpc.health.v1.Health"),
    Method(ASK, "ModelInfer", INFER),
    Method(ASK, "SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()),
    Method(ASK, "CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name="r")),
    Method(READ, "ModelReady", pb.ModelReadyRequest(name="iris")),
    Method(READ, "ServerMetadata", pb.ServerMetadataRequest()),
    Method(READ, "ModelMetadata", pb.ModelMetadataRequest(name="iris")),
    Method(READ, "ModelConfig", pb.ModelConfigRequest(name="iris")),
    Method(READ, "ModelStatistics", pb.ModelStatisticsRequest()),
    Method(READ, "RepositoryIndex", pb.RepositoryIndexRequest()),
    Method(READ, "NoSuchMethod", pb.ServerLiveRequest()),
    Method(CONTROL, "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="iris")),
    Method(CONTROL, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="nobody")),
    Method(CONTROL, "LogSettings", pb.LogSettingsRequest()),
    Method(CONTROL, "TraceSetting", pb.TraceSettingRequest()),
]
