"""The gates of a process, and the files that they are made of."""

import asyncio
import json
from hashlib import sha256

from server.app.security import Security
from server.domain.errors import NotKnown
from server.security.caller import Shown
from server.security.calls import INFER
from server.settings import Settings
from tests.lifecycle.waiting import until


async def test_a_key_that_is_withdrawn_while_the_process_starts_is_not_good(tmp_path):
    file, closing = tmp_path / "keys.json", asyncio.Event()
    entry = {"name": "ci", "sha256": sha256(b"secret").hexdigest(), "rights": ["inference"]}
    file.write_text(json.dumps([entry]))
    security = Security(Settings(api_keys=file))
    shown = Shown(b"secret")
    assert security.http.admits_quickly(INFER, shown) is False
    security.http.admit_quickly(INFER, shown)
    file.write_text("[]")

    def is_refused() -> bool:
        try:
            security.http.admit_quickly(INFER, shown)
        except NotKnown:
            return True
        return False

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(security.keep_up(closing))
        await until(is_refused)
        closing.set()
