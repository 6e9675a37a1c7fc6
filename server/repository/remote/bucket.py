"""A repository in an object store: S3, Google Cloud Storage or Azure, through fsspec.

The one door of fsspec and of the packages behind it, which are an extra. Who we are is theirs to find out, by
the standard chain of each cloud; nothing of it passes through here, and no text of theirs goes into a log.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from server.repository.remote.address import PACKAGES, Address, AddressRefused
from server.repository.remote.listing import Listing, RemoteFile
from server.repository.remote.store import StoreFault

_CHUNK = 2**23
_CONNECT_S, _READ_S = 10, 30

_LIMITS: Mapping[str, Mapping[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
            "retries": {"total_max_attempts": 2},
        }
    },
    "gs": {"timeout": _READ_S},
    "az": {"connection_timeout": _CONNECT_S, "read_timeout": _READ_S},
    "abfs": {"connection_timeout": _CONNECT_S, "read_timeout": _READ_S},
}
"""How each package is told that no wait is without end, and that trying again is mostly our own business."""

_TAGS = ("ETag", "etag", "generation", "md5Hash")
_TIMES = ("LastModified", "last_modified", "updated", "mtime")


class BucketStore:
    """One repository; answers `server.repository.remote.store.Store`."""

    def __init__(self, address: Address) -> None:
        """Raises `AddressRefused` where the package is missing, or will not have this address."""
        package = PACKAGES[address.scheme]
        try:
            import fsspec  # here: an extra

            self._files: Any = fsspec.filesystem(
                address.scheme,
                skip_instance_cache=True,
                use_listings_cache=False,
                **_LIMITS[address.scheme],
            )
        except ImportError:
            raise AddressRefused(
                f"{address.scheme}:// needs the package {package}: pip install 'tercet[remote]'"
            ) from None
        except (
            Exception
        ) as error:  # no credentials, no account named: told by type, as the text may hold them
            raise AddressRefused(
                f"{package} cannot read {address.url} with what the environment says: {type(error).__name__}"
            ) from None
        self._files.retries = 2
        self._root: str = self._files._strip_protocol(address.url).rstrip("/")

    def list(self) -> Listing:
        with _in_words("the listing"):
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
            return {
                path[len(self._root) + 1 :]: RemoteFile(
                    size=int(facts.get("size") or 0), tag=_tag(facts), changed_s=_changed_s(facts)
                )
                for path, facts in found.items()
                if facts.get("type") == "file" and path.startswith(f"{self._root}/")
            }

    def read(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        at = start
        while at < size:
            with _in_words(path):
                chunk: bytes = self._files.cat_file(
                    f"{self._root}/{path}", start=at, end=min(at + _CHUNK, size)
                )
            if not chunk:
                return
            yield at, chunk
            at += len(chunk)

    def tag(self, path: str) -> str | None:
        with _in_words(path):
            self._files.invalidate_cache()
            return _tag(self._files.info(f"{self._root}/{path}"))


def _tag(facts: Mapping[str, Any]) -> str:
    told = next((str(facts[name]) for name in _TAGS if facts.get(name)), "")
    return told.strip('"') or f"{facts.get('size')}-{_changed_s(facts)}"


def _changed_s(facts: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        value = facts.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return None


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """What these packages raise is the store's fault; their texts may hold requests, signatures and keys."""
    try:
        yield
    except FileNotFoundError:
        raise StoreFault(f"{what} is not there", is_gone=True) from None
    except PermissionError:
        raise StoreFault(f"{what} may not be read with the credentials of this server") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StoreFault(f"{what} cannot be read: {why}") from None
    except Exception as error:
        raise StoreFault(f"{what} cannot be read: {type(error).__name__}") from None
