"""Triton's load generator works as it is: the program itself, and the calls that it makes."""

import base64
import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import json_format

from tests.e2e.analyzer import perf_analyzer
from tests.e2e.golden import golden
from tests.e2e.triton import INFERENCE_STATS, tensors
from tests.server_process import Server

ROWS = 2
REQUESTS = 20
SEVEN = golden("digits/1/examples/seven.json").inputs["IMAGE"].item()
JSON = ["--input-tensor-format=json", "--output-tensor-format=json"]

# The program


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input data as it reads them: in base64, raw bytes of a tensor, each element after its length."""
    element = base64.b64encode(struct.pack("<I", len(SEVEN)) + SEVEN).decode()
    path = tmp_path_factory.mktemp("data") / "image.json"
    path.write_text(json.dumps({"data": [{"IMAGE": {"b64": element}}]}))
    return path


def ran(server: Server, protocol: str, *arguments: str) -> str:
    """What it wrote, once it has ended well."""
    program = perf_analyzer()
    assert program is not None
    libraries = f"{program.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run(
        [program, "-i", protocol, "-u", getattr(server, protocol), *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counted(report: str, what: str) -> int:
    found = re.search(rf"{what}: (\d+)", report)
    assert found, report
    return int(found[1])


@pytest.mark.perf_analyzer
@pytest.mark.parametrize(
    ("protocol", "arguments"),
    [
        ("http", ["-m", "iris"]),
        ("http", ["-m", "iris", *JSON, "-b", "4"]),
        ("grpc", ["-m", "iris", "-b", "4", "--shape", "measurements:4"]),
        ("grpc", ["-m", "iris", "-a"]),
        ("grpc", ["-m", "iris", "-a", "--streaming"]),
        ("http", ["-m", "diabetes", "-b", "4", *JSON]),
        ("grpc", ["-m", "diabetes", "--grpc-compression-algorithm", "gzip"]),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_the_program_measures_a_model(server: Server, protocol: str, arguments: list[str]):
    report = ran(server, protocol, *arguments, "--request-count", str(REQUESTS))
    rows = 4 if "-b" in arguments else 1
    # Of the server's statistics: it looks at them first when its requests are under way already.
    assert counted(report, "Successful request count") > 0
    assert counted(report, "Inference count") == rows * counted(report, "Successful request count")


@pytest.mark.perf_analyzer
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    "arguments",
    [["-m", "digits", "-x", "1"], ["-m", "digits_onnx", "-b", "4", "--shape", "IMAGE:1"]],
    ids=["digits", "digits_onnx"],
)
def test_the_program_measures_a_model_with_code_of_its_own(
    server: Server, image_file: Path, protocol: str, arguments: list[str]
):
    data = ["--input-data", str(image_file), "--request-count", str(REQUESTS)]
    report = ran(server, protocol, *arguments, *data)
    assert counted(report, "Successful request count") > 0


@pytest.mark.perf_analyzer
@pytest.mark.parametrize(
    ("protocol", "arguments"), [("http", []), ("http", JSON), ("grpc", [])], ids=["http", "json", "grpc"]
)
def test_the_program_measures_a_model_of_text(workshop: Server, protocol: str, arguments: list[str]):
    text = ["-m", "echo", "--string-data", "grüße", "--request-count", str(REQUESTS)]
    assert counted(ran(workshop, protocol, *text, *arguments), "Execution count") > 0


@pytest.mark.perf_analyzer
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_program_raises_its_concurrency(server: Server, protocol: str):
    count = ["--measurement-mode=count_windows", f"--measurement-request-count={REQUESTS}"]
    windows = [*count, "--max-trials=3", "--stability-percentage=999"]
    metrics = ["--collect-metrics", f"--metrics-url={server.metrics}/metrics"]
    report = ran(server, protocol, "-m", "diabetes", "--concurrency-range=1:4:3", *windows, *metrics)
    assert re.findall(r"^Concurrency: (\d), throughput: [\d.]+ infer/sec", report, re.MULTILINE) == ["1", "4"]


@pytest.mark.perf_analyzer
def test_the_programs_request_parameters_are_taken(workshop: Server):
    given = ["--request-parameter", "team:kitchen:string", "--request-parameter", "lit:true:bool"]
    ran(workshop, "grpc", "-m", "curious", *given, "--request-count", str(REQUESTS))


# The calls that it makes, in its order: metadata, configuration, extensions, statistics, infer, statistics


class OverHttp:
    def __init__(self, server: Server) -> None:
        self._client = server.client

    def metadata(self, model: str) -> dict[str, Any]:
        return self._read(f"/v2/models/{model}")

    def config(self, model: str) -> dict[str, Any]:
        return self._read(f"/v2/models/{model}/config")

    def extensions(self) -> list[str]:
        extensions: list[str] = self._read("/v2")["extensions"]
        return extensions

    def stats(self, model: str) -> list[dict[str, Any]]:
        stats: list[dict[str, Any]] = self._read(f"/v2/models/{model}/stats")["model_stats"]
        return stats

    def infer(self, model: str, inputs: dict[str, np.ndarray], outputs: list[str]) -> None:
        """An empty id, each output asked for as binary data by name, and no parameters of the request."""
        raw = {name: _raw(array) for name, array in inputs.items()}
        head = {
            "id": "",
            "inputs": [
                {
                    "name": name,
                    "datatype": "BYTES" if array.dtype == object else "FP32",
                    "shape": array.shape,
                    "parameters": {"binary_data_size": len(raw[name])},
                }
                for name, array in inputs.items()
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        }
        text = json.dumps(head).encode()
        headers = {
            "Inference-Header-Content-Length": str(len(text)),
            "Content-Type": "application/octet-stream",
        }
        body = text + b"".join(raw.values())
        answer = self._client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        told = json.loads(answer.content[: int(answer.headers["Inference-Header-Content-Length"])])
        assert [output["name"] for output in told["outputs"]] == outputs
        assert all(output["parameters"]["binary_data_size"] for output in told["outputs"])

    def _read(self, path: str) -> dict[str, Any]:
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


class OverGrpc:
    """Reads messages as the program does: as JSON, with every field that has a default."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client

    def metadata(self, model: str) -> dict[str, Any]:
        return _document(self._client.get_model_metadata(model))

    def config(self, model: str) -> dict[str, Any]:
        return _document(self._client.get_model_config(model).config)

    def extensions(self) -> list[str]:
        return list(self._client.get_server_metadata().extensions)

    def stats(self, model: str) -> list[dict[str, Any]]:
        stats: list[dict[str, Any]] = _document(self._client.get_inference_statistics(model))["model_stats"]
        return stats

    def infer(self, model: str, inputs: dict[str, np.ndarray], outputs: list[str]) -> None:
        wanted = [triton.InferRequestedOutput(name) for name in outputs]
        answer = self._client.infer(model, tensors(triton, inputs), outputs=wanted)
        assert [output.name for output in answer.get_response().outputs] == outputs


def _document(message: Any) -> dict[str, Any]:
    how = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return json_format.MessageToDict(message, **how)


def _raw(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())
    return array.tobytes()


ASKED: dict[str, dict[str, np.ndarray]] = {
    "iris": {"measurements": np.ones((ROWS, 4), np.float32)},
    "diabetes": golden("diabetes/1/examples/two_patients.json").inputs,
    "digits": {"IMAGE": np.array([[SEVEN]] * ROWS, object)},
    "digits_onnx": {"IMAGE": np.array([[SEVEN]] * ROWS, object)},
    "curious": {"x": np.ones((ROWS, 1), np.float32)},
    "picky": {"x": np.ones((ROWS, 1), np.float32)},
}


@pytest.fixture(params=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("model", ASKED)
def test_the_calls_it_makes_are_answered_as_it_reads_them(
    server: Server, workshop: Server, protocol: str, model: str
):
    asked = workshop if model in ("curious", "picky") else server
    with triton.InferenceServerClient(asked.grpc) as client:
        calls = OverHttp(asked) if protocol == "http" else OverGrpc(client)

        metadata, config = calls.metadata(model), calls.config(model)
        told = {tensor["name"]: [int(size) for size in tensor["shape"]] for tensor in metadata["inputs"]}
        assert {tensor["name"] for tensor in config["input"]} == told.keys()
        assert type(config["max_batch_size"]) is int
        assert config["max_batch_size"] >= ROWS
        assert all(shape[0] == -1 for shape in told.values())
        assert config["platform"] != "ensemble"
        assert config.get("model_transaction_policy", {}).get("decoupled", False) is False
        assert config.get("response_cache", {}).get("enable", False) is False
        assert "sequence_batching" not in config
        assert "statistics" in calls.extensions()

        before = _figures(calls.stats(model), model)
        for _ in range(3):
            calls.infer(model, ASKED[model], [output["name"] for output in metadata["outputs"]])
        after = _figures(calls.stats(model), model)

        grown = {key: after[key] - before[key] for key in after}
        assert grown["inference_count"] == 3 * ROWS
        assert grown["execution_count"] == 3
        for member in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            assert grown[member, "count"] == 3
            assert grown[member, "ns"] > 0
        for member in ("fail", "cache_hit", "cache_miss"):
            assert grown[member, "count"] == grown[member, "ns"] == 0


def _figures(stats: list[dict[str, Any]], model: str) -> dict[Any, int]:
    """What it reads of the newest version's statistics. A member that is missing ends it with a crash."""
    newest = max(stats, key=lambda version: int(version["version"]))
    assert newest["name"] == model
    figures: dict[Any, int] = {key: int(newest[key]) for key in ("inference_count", "execution_count")}
    for member in INFERENCE_STATS:
        figures |= {(member, key): int(newest["inference_stats"][member][key]) for key in ("count", "ns")}
    return figures


def test_figures_over_http_are_numbers(server: Server):
    (stats,) = OverHttp(server).stats("iris")
    for key in ("inference_count", "execution_count", "last_inference"):
        assert type(stats[key]) is int
    for member in INFERENCE_STATS:
        assert {key: type(value) for key, value in stats["inference_stats"][member].items()} == {
            "count": int,
            "ns": int,
        }
