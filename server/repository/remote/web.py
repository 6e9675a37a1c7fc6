"""A repository behind plain HTTP: `index.json` at its root says what there is, with sizes and SHA-256.

`tercet manifest REPO --index` writes it. With the sums in it a file needs no other tag, and a cut
download goes on where it stopped if the server understands ranges.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx

from server.repository.manifest import INDEX, ManifestInvalid, read_manifest
from server.repository.remote.address import Address
from server.repository.remote.listing import Listing, RemoteFile
from server.repository.remote.store import StoreFault

_CHUNK = 2**18
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class WebStore:
    """One repository; answers `server.repository.remote.store.Store`."""

    def __init__(self, address: Address) -> None:
        self._url = address.url
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
        self._etag = ""
        self._listing: Listing = {}

    def list(self) -> Listing:
        headers = {"if-none-match": self._etag} if self._etag else {}
        with _in_words("the index"):
            response = self._client.get(self._address(INDEX), headers=headers)
            if response.status_code == 304:
                return self._listing
            _check(response)
            try:
                manifest = read_manifest(response.content)
            except ManifestInvalid as error:
                raise StoreFault(f"{INDEX} {error}") from None
        if manifest is None:
            raise StoreFault(f"{INDEX} is no index: `tercet manifest REPO --index` writes one")
        self._etag = response.headers.get("etag", "")
        self._listing = {
            path: RemoteFile(entry.size, entry.sha256, entry.sha256) for path, entry in manifest.items()
        }
        return self._listing

    def read(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={start}-"} if start else {})
        with _in_words(path), self._client.stream("GET", self._address(path), headers=headers) as response:
            _check(response)
            at = start if response.status_code == 206 else 0
            for chunk in response.iter_bytes(_CHUNK):
                yield at, chunk
                at += len(chunk)

    def tag(self, path: str) -> str | None:
        return None

    def _address(self, path: str) -> str:
        return f"{self._url}/{quote(path)}"


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException:
        raise StoreFault(f"{what} cannot be read: no answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # its text may hold the whole URL of a redirect
        raise StoreFault(f"{what} cannot be read: {type(error).__name__}") from None


def _check(response: httpx.Response) -> None:
    if not response.is_success:
        raise StoreFault(
            f"{response.request.url.path} is answered with {response.status_code}",
            is_gone=response.status_code in (404, 410),
        )
