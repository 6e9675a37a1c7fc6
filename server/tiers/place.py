"""Where the processes of a tier are to be looked for: an address, or a name that stands for several."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

DNS = "dns:///"
LOOKED_UP_WITHIN_S = 10.0


class PlaceInvalid(ValueError):
    """What an operator wrote is no place; the sentence says what one looks like."""


@dataclass(frozen=True, slots=True)
class Place:
    """One item of `--predict-endpoints` and its kin.

    is_name   whether `host` is asked for anew now and then, and every address it has is a process
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
    """Read `host:port`, `[::1]:port` or `dns:///name:port`. Raises `PlaceInvalid`."""
    is_name = written.startswith(DNS)
    host, colon, port = written.removeprefix(DNS).rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and "/" not in host and port.isascii() and port.isdigit() and len(port) <= 5):
        raise PlaceInvalid(f"'{written}' is not the place of a tier: write host:port or dns:///name:port")
    if not 0 < int(port) < 65536:
        raise PlaceInvalid(f"'{written}' has a port that there is not: 1 to 65535")
    return Place(host, int(port), is_name)


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
