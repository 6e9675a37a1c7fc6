"""What one process tells the next about a remote repository: its listing, and the content behind each tag.

One small file for each repository in the cache. It holds no content, so a file that is lost or spoilt costs
a download; the content itself is held against its SHA-256 by the cache.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.repository.remote.listing import Listing, RemoteFile


def name_of(url: str) -> str:
    """A file name for a repository."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


class Memory:
    """For one repository, whichever process writes last."""

    def __init__(self, cache_folder: Path, url: str) -> None:
        self._path = cache_folder / "known" / f"{name_of(url)}.json"
        self._url = url
        self._written = ""

    def read_listing(self) -> Listing:
        return {path: file for path, file, _ in self._read()}

    def read_sums(self) -> Iterator[tuple[str, str, str]]:
        """(path, tag, SHA-256) of what was fetched once."""
        return ((path, file.tag, sha256) for path, file, sha256 in self._read() if sha256)

    def write(self, listing: Listing, knows: Callable[[str, RemoteFile], str]) -> None:
        """Nothing is written where nothing has changed; a full disk is no reason to stop."""
        files = {path: [*file, knows(path, file)] for path, file in listing.items()}
        text = json.dumps({"url": self._url, "files": files})
        if text == self._written:
            return
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            aside.write_text(text, encoding="utf-8")
            aside.replace(self._path)
            self._written = text

    def _read(self) -> list[tuple[str, RemoteFile, str]]:
        try:
            files: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))["files"]
            return [(path, RemoteFile(*facts[:4]), str(facts[4])) for path, facts in files.items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return []
