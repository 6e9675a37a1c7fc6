"""Asks a process on its metrics port: one GET, one answer, in time or not at all."""

import asyncio
from contextlib import suppress

from server.supervisor.plan import LOOPBACK

LARGEST_ANSWER = 64 * 2**20


class NoAnswer(Exception):
    """Nobody answered, not in time, or not in HTTP."""


async def fetch(port: int, path: str, *, within_s: float, address: str = LOOPBACK) -> tuple[int, bytes]:
    """Status and body. Raises `NoAnswer`."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                answer = await _all_of(reader)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise NoAnswer(f"port {port}: {error or 'no answer in time'}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise NoAnswer(f"port {port}: what answers there is no HTTP server")
    return int(words[1]), body


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await reader.read(1 << 16):
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise OSError("the answer does not end")
        pieces.append(piece)
    return b"".join(pieces)
