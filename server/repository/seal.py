"""Holds a version folder to its manifest: every file there, nothing beside them, each with its SHA-256.

What is demanded is the operator's word. Reading is left to `Fingerprints`, which reads a file once for each
of its stamps, whoever asks.
"""

from dataclasses import dataclass

from server.repository.fingerprint import Fingerprints
from server.repository.manifest import (
    NAME,
    SIGNATURE,
    Manifest,
    ManifestInvalid,
    misfit,
    read_manifest,
)
from server.repository.signature import Verify
from server.repository.snapshot import Folder, Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What every version must bring to be served.

    manifest   a `manifest.json`
    verify     a signature of it, which this accepts; None where nobody asks for one
    """

    manifest: bool = False
    verify: Verify | None = None


NOTHING_DEMANDED = Demand()


class SealBroken(Exception):
    """A version that is not what its manifest says, or not yet. `str(error)` names the file.

    was_read   it took a look into the files to find out
    """

    def __init__(self, sentence: str, *, was_read: bool = False) -> None:
        super().__init__(sentence)
        self.was_read = was_read


class Seal:
    """The manifest of one version folder, looked at again and again by one caller at a time."""

    def __init__(self, demand: Demand, fingerprints: Fingerprints) -> None:
        self._demand = demand
        self._fingerprints = fingerprints
        self._stamps: tuple[Stamp | None, Stamp | None] | None = None
        self._read: Manifest | None = None
        self._problem = ""

    def is_set(self, folder: Folder) -> bool:
        """Whether there is anything to hold the folder to. Raises `SealBroken` where that cannot be told."""
        if NAME not in folder.files:
            if self._demand.manifest:
                raise SealBroken(
                    f"there is no {NAME}, which this server demands; `tercet manifest` writes it"
                )
            return False
        stamps = folder.files.get(NAME), folder.files.get(SIGNATURE)
        if stamps != self._stamps:
            self._read, self._problem = self._open(folder)
            self._stamps = stamps
        if self._problem:
            raise SealBroken(self._problem)
        return self._read is not None

    def check(self, folder: Folder) -> None:
        """Read what was not read before. Raises `SealBroken`, or `ContentMoved` where somebody is writing."""
        if not self.is_set(folder) or self._read is None:
            return
        why = misfit(self._read, {name: stamp.size for name, stamp in folder.files.items()})
        if why:
            raise SealBroken(why)
        for name, entry in self._read.items():
            digest = self._fingerprints.digest(f"{folder.place}/{name}", folder.files[name]).hex()
            if digest != entry.sha256:
                raise SealBroken(
                    f"{name} has the SHA-256 {digest[:12]}…, and {NAME} says {entry.sha256[:12]}…",
                    was_read=True,
                )

    def _open(self, folder: Folder) -> tuple[Manifest | None, str]:
        try:
            content = (folder.path / NAME).read_bytes()
            signature = (folder.path / SIGNATURE).read_bytes() if SIGNATURE in folder.files else None
            manifest = read_manifest(content)
        except OSError as error:
            return None, f"{NAME} or its signature cannot be read: {error.strerror}"
        except ManifestInvalid as error:
            return None, f"{NAME} {error}"
        if manifest is None and self._demand.manifest:
            return None, f"{NAME} is no manifest of ours: it has no 'tercet_manifest'"
        if self._demand.verify is not None:
            if signature is None:
                return None, f"{NAME} is not signed: there is no {SIGNATURE}, which this server demands"
            if not self._demand.verify(signature, content):
                return None, f"{SIGNATURE} is not a signature of {NAME} by the key that this server trusts"
        return manifest, ""
