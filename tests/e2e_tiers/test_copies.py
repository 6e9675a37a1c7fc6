"""How often a tensor is copied between the doors, as `tercet_payload_copied_bytes_total` has it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton_http

from tests.e2e.scrape import scrape
from tests.e2e.workshop import FLOAT, helper, put, value, written
from tests.server_process import Server, running
from tests.tier_processes import Tiers, in_tiers

WIDE = 1 << 20
"""Elements of FP32: 4 MiB."""

PAYLOAD = 4 * WIDE
REQUESTS = 4
GIVES_ON = "def {}(tensors):\n    return tensors\n"

TWICE = """
name: "twice"
platform: "ensemble"
max_batch_size: 8
input { name: "X" data_type: TYPE_FP32 dims: [ 1048576 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1048576 ] }
ensemble_scheduling {
  step { model_name: "plain" model_version: -1 input_map { key: "x" value: "X" }
         output_map { key: "y" value: "between" } }
  step { model_name: "plain" model_version: -1 input_map { key: "x" value: "between" }
         output_map { key: "y" value: "Y" } }
}
"""

COMPANY = (
    "max_batch_size: 8 dynamic_batching { preferred_batch_size: 2 max_queue_delay_microseconds: 5000000 }"
)
PIECES = 'max_batch_size: 2 parameters { key: "tercet.split_requests" value { string_value: "true" } }'


def identity(width: int) -> bytes:
    return written(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", FLOAT, "n", width)],
        [value("y", FLOAT, "n", width)],
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies") / "models"
    put(folder, "plain", identity(WIDE), "max_batch_size: 8")
    put(
        folder,
        "coded",
        identity(WIDE),
        "max_batch_size: 8",
        pre_py=GIVES_ON.format("preprocess"),
        post_py=GIVES_ON.format("postprocess"),
    )
    put(folder, "company", identity(4), COMPANY)
    put(folder, "pieces", identity(4), PIECES)
    (folder / "twice/1").mkdir(parents=True)
    (folder / "twice/config.pbtxt").write_text(TWICE)
    return folder


@pytest.fixture(scope="module")
def fused(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("fused") / "log", repository) as server:
        yield server


@pytest.fixture(scope="module")
def apart(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiers]:
    with in_tiers(
        tmp_path_factory.mktemp("apart"), repository, pre=0, post=0, options=["--exclude-models=coded"]
    ) as tiers:
        yield tiers


def copied(server: Server) -> dict[str, float]:
    """By place."""
    return {
        labels["place"]: size
        for name, labels, size in scrape(server)
        if name == "tercet_payload_copied_bytes_total"
    }


def ask(server: Server, model: str, array: np.ndarray, name: str = "x") -> np.ndarray:
    with triton_http.InferenceServerClient(server.http) as client:
        tensor = triton_http.InferInput(name, list(array.shape), "FP32")
        tensor.set_data_from_numpy(array)
        found = client.infer(model, [tensor]).as_numpy("Y" if name == "X" else "y")
        assert found is not None
        return found


def more(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {place: after[place] - before[place] for place in after if after[place] != before[place]}


@pytest.mark.parametrize(("model", "name"), [("plain", "x"), ("coded", "x"), ("twice", "X")])
def test_stages_in_one_process_copy_no_payload(fused, model, name):
    row = np.full((1, WIDE), 3, np.float32)
    before = copied(fused)
    for _ in range(REQUESTS):
        assert (ask(fused, model, row, name) == row).all()
    assert more(before, copied(fused)) == {}


def test_a_large_tensor_over_the_hop_is_copied_once_on_each_side(apart):
    row = np.full((1, WIDE), 5, np.float32)
    sides = (apart.gateway[0], apart.predict[0])
    before = [copied(side) for side in sides]
    for _ in range(REQUESTS):
        assert (ask(sides[0], "plain", row) == row).all()
    found = [more(then, copied(side)) for then, side in zip(before, sides, strict=True)]
    assert found == [{"shared": REQUESTS * PAYLOAD}] * 2


def test_a_small_tensor_over_the_hop_is_written_into_the_message(apart):
    row = np.ones((2, 4), np.float32)
    before = copied(apart.gateway[0])
    ask(apart.gateway[0], "pieces", row)
    assert more(before, copied(apart.gateway[0])) == {"wire": row.nbytes}


def test_requests_that_share_a_run_are_laid_together_once(fused):
    row = np.ones((1, 4), np.float32)
    before = copied(fused)
    with ThreadPoolExecutor(2) as callers:
        list(callers.map(lambda _: ask(fused, "company", row), range(2)))
    assert more(before, copied(fused)) == {"batch": 2 * row.nbytes}


def test_what_comes_in_pieces_is_joined_once(fused):
    rows = np.arange(16, dtype=np.float32).reshape(4, 4)
    before = copied(fused)
    assert (ask(fused, "pieces", rows) == rows).all()
    assert more(before, copied(fused)) == {"pieces": rows.nbytes}
