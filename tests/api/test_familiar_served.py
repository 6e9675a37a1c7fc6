"""What becomes of familiar requests when a server answers them, and the world around them changes."""

import json
import shutil
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import tritonclient.grpc
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.api.test_call_budget import (
    CALLS_PER_REQUEST,
    counted,
    repository,  # noqa: F401  (the model that is asked)
    server_in_this_process,
    wait_until_served,
)
from tests.server_process import running

KEY = "the-key"
TENSOR = '{"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": %s}]}'
FLAT = TENSOR % "[0.0, 1.0, 2.0, 3.00]"
OTHER = TENSOR % "[4.0, 1.0, 2.0, 3.00]"
NESTED = TENSOR % "[[0.0, 1.0, 2.0, 3] ]"


def asking(
    port: int, headers: str = "", model: str = "double"
) -> Callable[[str], tuple[int, dict[str, object]]]:
    """One connection, on which each request is one piece; each answer is a status and a document."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)

    def ask(body: str) -> tuple[int, dict[str, object]]:
        head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\n{headers}"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = connection.recv(65_536)
        status, _, rest = answer.partition(b"\r\n")
        return int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])

    return ask


def doubled(document: dict[str, object]) -> list[float]:
    return document["outputs"][0]["data"]  # type: ignore[index, no-any-return]


def test_one_that_has_to_be_read_after_all_counts_once_against_its_callers_rate(repository, tmp_path):  # noqa: F811
    keys, entry = tmp_path / "keys.json", {"name": "asker", "sha256": sha256(KEY.encode()).hexdigest()}
    entry |= {"rights": ["inference"], "requests_per_second": 0.001, "burst": 7}
    keys.write_text(json.dumps([entry]))
    more = {"api_keys": str(keys), "anonymous_rights": "inference"}
    with server_in_this_process(repository, more) as (_, ports):
        wait_until_served(ports[0])
        url = f"http://127.0.0.1:{ports[0]}/v2/models/double/infer"
        assert httpx.post(url, content=FLAT, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        ask = asking(ports[0], f"Authorization: Bearer {KEY}\r\n")
        found = [ask(body) for body in (FLAT, OTHER, FLAT, NESTED, NESTED, NESTED)]
        assert [status for status, _ in found] == [200] * 6
        assert [doubled(document)[0] for _, document in found] == [0.0, 8.0, 0.0, 0.0, 0.0, 0.0]
        assert ask(FLAT)[0] == 429


def test_after_a_new_version_has_come_it_answers_and_is_soon_as_familiar(repository, tmp_path):  # noqa: F811
    models: Path = tmp_path / "models"
    shutil.copytree(repository, models)
    with server_in_this_process(models, {"model_control_mode": "explicit", "load_model": ["*"]}) as (
        loop,
        ports,
    ):
        wait_until_served(ports[0])
        ask = asking(ports[0])
        for _ in range(4):
            assert ask(FLAT)[1]["model_version"] == "1"
        shutil.copytree(models / "double/1", models / "double/2")
        loading = f"http://127.0.0.1:{ports[0]}/v2/repository/models/double/load"
        assert httpx.post(loading, timeout=30).status_code == 200
        for body, first in ((FLAT, 0.0), (OTHER, 8.0), (FLAT, 0.0)):
            document = ask(body)[1]
            assert (document["model_version"], doubled(document)[0]) == ("2", first)
        assert counted(loop, lambda: ask(OTHER)) <= CALLS_PER_REQUEST["json"]


TIMES = ("at", "queue_us", "compute_us", "total_us", "peer")


def picker(folder: Path, size: int = 4) -> Path:
    """A model whose run fails for what is beyond its table: Y = table[X], which is X + 10."""
    x = helper.make_tensor_value_info("X", TensorProto.INT64, [None, 1])
    y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 1])
    table = helper.make_tensor("table", TensorProto.FLOAT, [size], list(range(10, 10 + size)))
    graph = helper.make_graph([helper.make_node("Gather", ["table", "X"], ["Y"])], "g", [x], [y], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "pick/1").mkdir(parents=True)
    (folder / "pick/1/model.onnx").write_bytes(model.SerializeToString())
    return folder


def test_answers_failures_counts_and_access_lines_are_those_of_the_way_that_reads(tmp_path):
    """Told apart by an id, which over gRPC has a message read, and by chunks, which go the long way."""
    text = '{"inputs": [{"name": "X", "shape": [1, 1], "datatype": "INT64", "data": [%d]}]}'
    with running(tmp_path / "log", picker(tmp_path / "models")) as server:
        url = f"http://{server.http}/v2/models/pick"
        client = tritonclient.grpc.InferenceServerClient(server.grpc)

        def by_grpc(index: int, name: str) -> object:
            tensor = tritonclient.grpc.InferInput("X", [1, 1], "INT64")
            tensor.set_data_from_numpy(np.array([[index]], np.int64))
            try:
                return client.infer("pick", [tensor], request_id=name).as_numpy("Y").tolist()
            except InferenceServerException as error:
                return error.status(), error.message()

        def counts() -> dict[str, int]:
            (found,) = httpx.get(f"{url}/stats").json()["model_stats"]
            each = {name: span["count"] for name, span in found["inference_stats"].items()}
            return each | {name: found[name] for name in ("inference_count", "execution_count")}

        with httpx.Client() as http:
            ask = asking(int(server.http.rpartition(":")[2]), model="pick")

            def by_http(index: int, *, short: bool) -> object:
                if short:
                    return ask(text % index)
                answer = http.post(f"{url}/infer", content=iter([(text % index).encode()]))
                return answer.status_code, answer.json()

            for _ in range(3):
                by_http(0, short=True)
                by_grpc(0, "")
            numbers, seen, ways = (1, 9, 3), [counts()], []
            for short in (True, False):
                ways.append([by_http(index, short=short) for index in numbers])
                ways[-1] += [by_grpc(index, "" if short else "a") for index in numbers]
                seen.append(counts())
        assert ways[0] == ways[1]
        assert [way[0] for way in ways[0][:3]] == [200, 500, 200]
        first, second = (
            {name: after[name] - before[name] for name in after} for before, after in pairwise(seen)
        )
        assert first == second
        assert (first["success"], first["fail"]) == (4, 2)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if '"request"' in line]
    said = [{name: line[name] for name in line if name not in (*TIMES, "request_id")} for line in lines]
    assert said[-12:-6] == said[-6:]
    assert {line["rows"] for line in said[-6:]} == {1}


BATCHES = """
max_batch_size: 32
input { name: "X" data_type: TYPE_INT64 dims: [1] }
output { name: "Y" data_type: TYPE_FP32 dims: [1] }
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""


def test_rows_of_one_run_go_to_who_asked_for_them_whatever_door_each_came_through(tmp_path):
    """Twelve callers, of one row and of two, each with numbers of its own, while batches form."""
    tensor = '{"inputs": [{"name": "X", "shape": [%d, 1], "datatype": "INT64", %s}]%s}'
    models = picker(tmp_path / "models", 1000)
    (models / "pick/config.pbtxt").write_text(BATCHES)

    def by_json(port: int, numbers: list[int]) -> list[float]:
        text = tensor % (len(numbers), f'"data": {numbers}', "")
        return doubled(json.loads(sent(port, text.encode()).partition(b"\r\n\r\n")[2]))

    def by_bytes(port: int, numbers: list[int]) -> list[float]:
        data = np.array(numbers, np.int64).tobytes()
        size = f'"parameters": {{"binary_data_size": {len(data)}}}'
        text = tensor % (len(numbers), size, ', "parameters": {"binary_data_output": true}')
        answer = sent(port, text.encode() + data, f"Inference-Header-Content-Length: {len(text)}\r\n")
        return np.frombuffer(answer[-4 * len(numbers) :], np.float32).tolist()

    connections = threading.local()

    def sent(port: int, body: bytes, headers: str = "") -> bytes:
        if not hasattr(connections, "http"):
            connections.http = socket.create_connection(("127.0.0.1", port), timeout=20)
        head = (
            f"POST /v2/models/pick/infer HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        connections.http.sendall(head.encode() + body)
        return connections.http.recv(65_536)

    def by_grpc(port: int, numbers: list[int]) -> list[float]:
        if not hasattr(connections, "grpc"):
            connections.grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}")
        asked = tritonclient.grpc.InferInput("X", [len(numbers), 1], "INT64")
        asked.set_data_from_numpy(np.array(numbers, np.int64)[:, None])
        return connections.grpc.infer("pick", [asked]).as_numpy("Y")[:, 0].tolist()

    with running(tmp_path / "log", models) as server, ThreadPoolExecutor(12) as callers:
        ports = {ask: int(server.http.rpartition(":")[2]) for ask in (by_json, by_bytes)}
        ports[by_grpc] = int(server.grpc.rpartition(":")[2])
        start = threading.Barrier(12)

        def call(number: int) -> None:
            ask, rows = (by_json, by_bytes, by_grpc)[number % 3], 1 + number % 2
            start.wait(20)
            for at in range(40):
                numbers = [(number * 80 + 2 * at + row) % 1000 for row in range(rows)]
                assert ask(ports[ask], numbers) == [10.0 + each for each in numbers]

        for done in [callers.submit(call, number) for number in range(12)]:
            done.result(60)
        (found,) = httpx.get(f"http://{server.http}/v2/models/pick/stats").json()["model_stats"]
        assert found["inference_count"] == 12 * 40 * 3 // 2
        assert found["execution_count"] < found["inference_count"] / 3
