"""What is known of a version that is to serve, without loading it. Blocks: it reads small files."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from server.domain.catalogue import VersionFacts
from server.domain.configuration import Platform
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.attempts import FilesChanged, Verified
from server.lifecycle.described import Described, interface
from server.lifecycle.idle import Bounds, Known, Origin, bounds_of
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader, labels_of
from server.lifecycle.stamps import stamps_of
from server.lifecycle.warmup import NOTHING_LEARNED
from server.observe.tally import Tally
from server.wire import golden


@dataclass(frozen=True, slots=True)
class Prospect:
    """A version that is to serve.

    facts      what clients see of it; None where only loading it will tell
    bounds     of those who may wait for it
    was_known  whether it was verified before
    """

    origin: Origin
    known: Known
    facts: VersionFacts | None
    bounds: Bounds
    was_known: bool


def look(
    loader: Loader,
    offer: ModelOffer,
    version: VersionOffer,
    content: Content,
    verified: Verified,
    before: VersionFacts | None,
    same_content: Callable[[VersionOffer], bool],
) -> Prospect:
    """Of new content that was never tried it is known, at worst, what was `before`.

    `same_content` tells whether what lies there is what was offered. Raises what a load does.
    """
    assert offer.config is not None
    stamps = stamps_of(version)
    if not stamps:
        raise FilesChanged("there is no such file any more as was offered")
    if not same_content(version):
        raise FilesChanged("its files are not those that were offered")
    verdict = verified.verdict
    described = Described.from_json(verdict.described.get("file"))
    platform = described.platform if described else offer.config.platform or Platform.ONNX
    facts, bounds = None, Bounds(requests=1, bytes=1)
    if described is not None:
        outside = interface(offer.config, described, version.version)
        bounds = bounds_of(loader.plan(outside.config, outside.predicts))
        facts = VersionFacts(
            model=offer.name,
            version=version.version,
            platform=platform,
            config=outside.config,
            signature=outside.sees,
            tally=Tally(load_seconds=verdict.load_seconds),
            devices=(),
            load_seconds=verdict.load_seconds,
            labels=labels_of(outside.config, offer.labels),
            examples=tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples),
        )
    elif before is not None:
        bounds = bounds_of(loader.plan(before.config, before.signature))
        facts = replace(before, version=version.version, tally=Tally(), devices=())
    devices = {str(placement.device) for placement in loader.placements(offer.config, platform)}
    takes = verdict.loaded_bytes or file_bytes(version)
    return Prospect(
        Origin(offer, version, content, stamps),
        Known(needs=dict.fromkeys(devices, takes), load_s=verdict.load_seconds, learned=NOTHING_LEARNED),
        facts,
        bounds,
        verified.before,
    )


def unseen(offer: ModelOffer, version: VersionOffer, content: Content, was_known: bool) -> Prospect:
    """Where nobody asks what is known of it, as it is to be loaded whatever that is."""
    known = Known(needs={}, load_s=0.0, learned=NOTHING_LEARNED)
    return Prospect(Origin(offer, version, content, {}), known, None, Bounds(requests=1, bytes=1), was_known)


def file_bytes(version: VersionOffer) -> int:
    """What a version may take that was never loaded: as much as its files."""
    total = 0
    for path in version.directory.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total
