"""The keys of an issuer, from a real web server or a file."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server.app.token_keys import TokenKeys
from server.security.tokens import KeySetUnusable
from server.settings import Settings
from tests.security.tokens import AUDIENCE, ISSUER, NOW, Issuer, key_set


class Web:
    """Answers every question with `status` and `body`."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, b"", 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked += 1
                self.send_response(web.status)
                self.send_header("content-length", str(len(web.body)))
                self.end_headers()
                self.wfile.write(web.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/keys"


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield web
    web.server.shutdown()
    web.server.server_close()
    thread.join()


def keys_from(where: str) -> TokenKeys:
    return TokenKeys(Settings(jwt_jwks=where, jwt_issuer=ISSUER, jwt_audience=AUDIENCE))


async def test_keys_come_from_an_address(web):
    issuer = Issuer()
    web.body = key_set(issuer.public())
    keys = keys_from(web.address).keys
    assert keys.lacks(issuer.token())
    await keys.fetch()
    assert keys.read(issuer.token(), NOW).caller.name == "somebody"


@pytest.mark.parametrize(
    ("status", "body"), [(500, None), (404, None), (302, None), (200, b"nothing"), (200, b" " * 2**20 + b" ")]
)
async def test_an_address_that_gives_no_keys_leaves_those_before_it(web, status, body):
    issuer = Issuer()
    web.body = key_set(issuer.public())
    keys = keys_from(web.address).keys
    await keys.refresh()
    web.status, web.body = status, web.body if body is None else body
    await keys.refresh()
    assert web.asked == 2
    assert keys.read(issuer.token(), NOW)


async def test_an_address_may_have_its_keys_later(web):
    web.status = 503
    keys = keys_from(web.address)
    closing, changed = asyncio.Event(), asyncio.Event()
    keys.tell(changed.set)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(keys.keep_up(closing))
        while not web.asked:  # noqa: ASYNC110  (the other side is a thread)
            await asyncio.sleep(0.01)
        web.status, web.body = 200, key_set(Issuer().public())
        await keys.keys.refresh()
        await changed.wait()
        closing.set()


async def test_a_file_that_has_no_keys_is_told_at_the_start(tmp_path):
    file = tmp_path / "keys.json"
    with pytest.raises(KeySetUnusable, match="cannot be read"):
        keys_from(str(file))
    file.write_text("[]")
    with pytest.raises(KeySetUnusable, match="no set of keys"):
        keys_from(str(file))


async def test_a_file_is_read_again_when_it_changes(tmp_path):
    first, second = Issuer(), Issuer("second")
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(first.public()))
    keys = keys_from(str(file))
    closing, changed = asyncio.Event(), asyncio.Event()
    keys.tell(changed.set)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(keys.keep_up(closing))
        await changed.wait()
        changed.clear()
        while not changed.is_set():  # the watch is set up by a thread, which tells nobody when
            file.write_bytes(key_set(second.public()))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await changed.wait()
        assert keys.keys.read(second.token(), NOW)
        closing.set()
