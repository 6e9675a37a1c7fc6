"""What a version folder holds, as one fingerprint; and whether it still holds what was offered."""

from server.domain.offer import VersionOffer
from server.repository.fingerprint import ContentMoved, Fingerprints
from server.repository.manifest import NAME, SIGNATURE
from server.repository.snapshot import Folder, FolderUnreadable, take_snapshot


def fingerprint_of(folder: Folder, known: Fingerprints) -> str:
    """Of the content; a manifest only says what that is. Raises `ContentMoved`."""
    content = {name: stamp for name, stamp in folder.files.items() if name not in (NAME, SIGNATURE)}
    return known.of(folder.place, content)


def holds(version: VersionOffer) -> bool:
    """Whether its folder holds what was offered, however its files were touched since. Blocks: reads them."""
    try:
        folder = take_snapshot(version.directory.parent).versions.get(version.version)
        return folder is not None and fingerprint_of(folder, Fingerprints()) == version.fingerprint
    except (ContentMoved, FolderUnreadable, OSError):
        return False
