"""Where the processes of a tier are to be looked for: an address, or a name that stands for several."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

DNS = "dns:///"
LOOKED_UP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """One item of `--predict-endpoints` and its kin.

    is_name   whether `host` is looked up anew now and then, and every address that it has is a process
    """

    host: str
    port: int
    is_name: bool

    @property
    def address(self) -> str:
        return address_of(self.host, self.port)

    def __str__(self) -> str:
        return (DNS if self.is_name else "") + self.address


def place_of(written: str) -> Place:
    """Read `host:port`, `[::1]:port` or `dns:///name:port`, which the settings have held to that form."""
    host, _, port = written.removeprefix(DNS).rpartition(":")
    return Place(host.removeprefix("[").removesuffix("]"), int(port), written.startswith(DNS))


def address_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


LookUp = Callable[[Place], Awaitable[frozenset[str]]]
"""The addresses that a name has right now. Raises `OSError`."""


async def look_up(place: Place) -> frozenset[str]:
    """Asked off the loop, and for so long at the most. A name that nobody knows raises `OSError`."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOKED_UP_WITHIN_S):
        found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    return frozenset(address_of(str(sockaddr[0]), place.port) for *_, sockaddr in found)
