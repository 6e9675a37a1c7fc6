"""How an operator writes a server that is not ours: `oip://host:port`, or with `?models=a,b` behind it."""

import re
from dataclasses import dataclass

SCHEME = "oip://"
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^][:/?#@\s]+):([0-9]{1,5})")
_MODEL = re.compile(r"[^,&#\s]+")


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
        if not question:
            return cls(found[0])
        key, _, listed = question.partition("=")
        models = tuple(listed.split(","))
        if key != "models" or not all(_MODEL.fullmatch(model) for model in models):
            raise AddressInvalid(f"'{written}' must end in ?models=NAME,NAME or in its port")
        return cls(found[0], models)
