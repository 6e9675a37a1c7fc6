"""Where a repository lies that is no folder: a URL, and what is needed to read it.

Credentials have no place in it. They come from the environment and the standard chains of each cloud, so that
an address can be shown in logs, metrics and the index as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

PACKAGES: Mapping[str, str] = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "",
    "https": "",
}
"""Each scheme that is read, and the package that reads it; none for what is always there."""


class AddressRefused(Exception):
    """A URL that cannot be a repository. `str(error)` is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Address:
    """`url` has no slash at its end."""

    scheme: str
    url: str

    @property
    def is_web(self) -> bool:
        return self.scheme in ("http", "https")


def is_address(text: str) -> bool:
    return "://" in text


def read_address(text: str) -> Address:
    """Raises `AddressRefused`; the sentence shows no more of the URL than can hold no secret."""
    parts = urlsplit(text)
    if parts.scheme not in PACKAGES:
        known = ", ".join(f"{scheme}://" for scheme in PACKAGES)
        raise AddressRefused(f"a repository is a folder or one of {known}, not {parts.scheme}://")
    if parts.password or ("@" in parts.netloc and parts.scheme != "abfs"):
        raise AddressRefused(
            f"credentials do not belong into the address of a repository ({parts.scheme}://): "
            "leave them to the environment"
        )
    if parts.query or parts.fragment:
        raise AddressRefused(
            f"the address {parts.scheme}://{parts.hostname} of a repository has a '?' or '#', and it must not"
        )
    if not parts.netloc:
        raise AddressRefused(f"the address {text} of a repository names no bucket and no host")
    return Address(parts.scheme, text.rstrip("/"))
