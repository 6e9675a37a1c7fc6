import asyncio

import pytest

from server.lifecycle.table import Table
from server.stages.hop.link import Link
from server.stages.pool import Pool
from tests.stages.hop.there import there


@pytest.fixture
def pool():
    made = Pool(1, 1)
    yield made
    made.close()


async def test_a_process_that_is_leaving_opens_no_stream_and_waits_for_none(pool):
    """Whoever is let go calls again at once, as the port may be open yet: that must not hold up the exit."""
    async with there(Table(), pool) as other:
        other.closing.set()
        ups = []
        link = Link(
            f"127.0.0.1:{other.port}",
            "predict",
            max_requests=1,
            max_bytes=1,
            changed=lambda: ups.append(link.up),
        )
        running = asyncio.create_task(link.run())
        await asyncio.sleep(0.5)  # several calls
        async with asyncio.timeout(3):
            await other.leave()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not any(ups)
