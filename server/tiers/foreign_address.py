"""How an operator writes a server that is not ours: `oip://host:port`, or with `?model=a&model=b` too."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

SCHEME = "oip://"
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^][:/?#@\s]+):([0-9]{1,5})")


class AddressInvalid(ValueError):
    """It is not written as it must be. The sentence says how it is."""


@dataclass(frozen=True, slots=True)
class ForeignAddress:
    """
    address   host and port of its gRPC
    models    those that it is asked for; none where it is to say itself which it has
    """

    address: str
    models: tuple[str, ...] = ()

    @classmethod
    def parse(cls, written: str) -> "ForeignAddress":
        """Raises `AddressInvalid`."""
        address, _, question = written.removeprefix(SCHEME).partition("?")
        found = _HOST_AND_PORT.fullmatch(address.rstrip("/"))
        if not written.startswith(SCHEME) or found is None or not 0 < int(found[2]) < 2**16:
            raise AddressInvalid(
                f"'{written}' is no address: write oip://HOST:PORT, with the port of its gRPC"
            )
        named = [part.partition("=") for part in question.split("&")] if question else []
        models = tuple(unquote(value) for _, _, value in named)
        if any(key != "model" for key, _, _ in named) or "" in models:
            raise AddressInvalid(f"'{written}' must end in its port, or in ?model=NAME&model=NAME")
        return cls(found[0], models)
