"""The same request, alone and in whatever company it runs, gets the same answer."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.configuration import (
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    TensorConfig,
)
from server.domain.request import InferRequest, InferResponse
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader
from server.lifecycle.table import Table
from server.lifecycle.version import ServedVersion
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.shelf import Shelf
from tests.runtimes.models import KITS, SIZES, some_rows

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

MAX_BATCH_SIZE = 16


class Model:
    """A version that serves, on an event loop that runs while somebody asks."""

    def __init__(self, loop: asyncio.Runner, served: ServedVersion) -> None:
        self._loop = loop
        self._served = served
        self._route = Route(Table(), Pool(1, 1))

    def asked_at_once(self, requests: Sequence[np.ndarray]) -> list[InferResponse]:
        async def ask() -> list[InferResponse]:
            return await asyncio.gather(
                *(self._route.infer(self._served, InferRequest("mlp", "1", {"x": rows})) for rows in requests)
            )

        return self._loop.run(ask())


@pytest.fixture(
    scope="module",
    params=product(KITS, (1, 2)),
    ids=lambda param: f"{param[0].name}-{param[1]} instances",
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A small network behind a real session, which batches up to 16 rows."""
    kit, instances = request.param
    folder = tmp_path_factory.mktemp("mlp")
    file = kit.mlp(folder).path
    config = ModelConfig(
        name="mlp",
        max_batch_size=MAX_BATCH_SIZE,
        inputs=(TensorConfig(name="x", datatype="FP32", dims=(SIZES[0],)),),
        outputs=(TensorConfig(name="y", datatype="FP32", dims=(SIZES[-1],)),),
        instance_groups=(InstanceGroup(kind=InstanceKind.CPU, count=instances),),
        dynamic_batching=DynamicBatching(),
    )
    shelf = Shelf(folder / "mlp")
    version = shelf.put(model=file.read_bytes(), file_name=file.name)
    loader = Loader(cpu_budget=1, max_queue_size=64)
    loaded = loader.load(shelf.offer(version, config=config), version, models=1)

    async def assembled() -> ServedVersion:
        return loader.assemble(loaded, Content(version.fingerprint))

    with asyncio.Runner() as loop:
        served = loop.run(assembled())
        yield Model(loop, served)
        loop.run(served.retire(within_s=5))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, MAX_BATCH_SIZE), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_a_request_gets_the_same_answer_alone_and_in_any_company(model: Model, sizes: list[int], seed: int):
    requests = [some_rows(size, seed + number) for number, size in enumerate(sizes)]
    together = model.asked_at_once(requests)
    for rows, answer in zip(requests, together, strict=True):
        (alone,) = model.asked_at_once([rows])
        assert alone.batch_rows == len(rows)
        assert answer.batch_rows <= MAX_BATCH_SIZE
        np.testing.assert_allclose(answer.outputs["y"], alone.outputs["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1, 1], [3, 5, 8], [1] * MAX_BATCH_SIZE])
def test_requests_that_come_at_once_and_fit_one_run_go_together(model: Model, sizes: list[int]):
    together = model.asked_at_once([some_rows(size) for size in sizes])
    assert {answer.batch_rows for answer in together} == {sum(sizes)}


def test_the_same_rows_get_the_same_answer_wherever_they_stand_in_a_run(model: Model):
    together = model.asked_at_once([some_rows(1)] * MAX_BATCH_SIZE)
    for answer in together:
        np.testing.assert_allclose(answer.outputs["y"], together[0].outputs["y"], rtol=1e-5, atol=1e-5)
