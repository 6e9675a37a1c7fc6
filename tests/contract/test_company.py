"""The same request, alone and in whatever company it runs, gets the same answer."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtimes.opening import open_session
from runtimes.session import Session
from server.domain.configuration import ModelConfig, Platform
from server.lifecycle.completion import complete
from server.lifecycle.instance import Instance
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket
from tests.runtimes.models import KITS, some_rows

MAX_BATCH_SIZE = 16


@pytest.fixture(scope="module", params=KITS, ids=lambda kit: kit.name)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = open_session(request.param.mlp(tmp_path_factory.mktemp(request.param.name)))
    yield session
    session.close()


async def answers(session: Session, requests: Sequence[np.ndarray], instances: int) -> list[Ticket]:
    """The tickets of requests that came at once, each with its answer and the rows of its run."""
    config = ModelConfig(name="mlp", max_batch_size=MAX_BATCH_SIZE)
    config = complete(config, session.description, Platform.ONNX)
    slots = [Instance(f"mlp {number}", session, config) for number in range(instances)]
    batcher = Batcher(
        model="mlp",
        version=1,
        batches=True,
        rule=BatchRule(max_batch_size=MAX_BATCH_SIZE),
        slots=slots,
        max_queue_size=len(requests),
        tally=Tally(),
    )
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Ticket]] = []
    for rows in requests:
        futures.append(loop.create_future())
        batcher.submit(Ticket({"x": rows}, len(rows), futures[-1].set_result))
    try:
        return await asyncio.wait_for(asyncio.gather(*futures), 10)
    finally:
        await batcher.close(1)
        for slot in slots:
            slot.close()


def rows_of(ticket: Ticket) -> np.ndarray:
    assert ticket.outputs is not None, ticket.error
    return ticket.outputs["y"]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, MAX_BATCH_SIZE), min_size=1, max_size=12),
    instances=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_a_request_gets_the_same_answer_alone_and_in_any_company(
    session: Session, sizes: list[int], instances: int, seed: int
):
    requests = [some_rows(size, seed + number) for number, size in enumerate(sizes)]
    together = asyncio.run(answers(session, requests, instances))
    for rows, ticket in zip(requests, together, strict=True):
        (alone,) = asyncio.run(answers(session, [rows], 1))
        np.testing.assert_allclose(rows_of(ticket), rows_of(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1, 1], [3, 5, 8], [1] * MAX_BATCH_SIZE])
def test_requests_that_fit_one_run_and_come_at_once_go_together(session: Session, sizes: list[int]):
    together = asyncio.run(answers(session, [some_rows(size) for size in sizes], 1))
    assert {ticket.batch_rows for ticket in together} == {sum(sizes)}


def test_rows_that_are_the_same_get_the_same_answer_wherever_they_stand_in_a_run(session: Session):
    rows = some_rows(1)
    together = asyncio.run(answers(session, [rows] * MAX_BATCH_SIZE, 1))
    for ticket in together[1:]:
        np.testing.assert_allclose(rows_of(ticket), rows_of(together[0]), rtol=1e-5, atol=1e-5)
