"""What is known of a version that is to serve, without loading it. Blocks: it reads small files."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig
from server.domain.offer import ModelOffer, VersionOffer
from server.lifecycle.attempts import FilesChanged, Verified
from server.lifecycle.described import Described, interface
from server.lifecycle.idle import Bounds, Known, Origin, bounds_of
from server.lifecycle.instances import Content
from server.lifecycle.loader import Loader, labels_of, platform_for
from server.lifecycle.residency.estimate import estimate
from server.lifecycle.served import Served
from server.lifecycle.stamps import are_as_offered, stamps_of
from server.lifecycle.verdict import Verdict
from server.lifecycle.warmup import NOTHING_LEARNED
from server.observe.tally import Tally
from server.wire import golden


@dataclass(frozen=True, slots=True)
class Prospect:
    """A version that is to serve.

    facts      what clients see of it; None where only loading it will tell, or nobody wants to know
    bounds     of those who may wait for it
    was_known  whether it was verified before
    is_guess   whether the facts are of other content of its model
    """

    origin: Origin
    known: Known
    facts: VersionFacts | None
    bounds: Bounds
    was_known: bool
    is_guess: bool = False


class Looker:
    """Looks at versions. `same_content` tells whether what lies there is what was offered."""

    def __init__(self, loader: Loader, same_content: Callable[[VersionOffer], bool]) -> None:
        self._loader = loader
        self._same_content = same_content

    def glance(self, offer: ModelOffer, version: VersionOffer, content: Content, found: Verified) -> Prospect:
        """At one that is to be loaded, whatever it is. Raises what a load does."""
        origin = Origin(offer, version, content, stamps={})
        known = self._known(offer, version, found.verdict, None)
        return Prospect(origin, known, None, Bounds(requests=1, bytes=1), found.before)

    def look(
        self,
        offer: ModelOffer,
        version: VersionOffer,
        content: Content,
        found: Verified,
        before: Served | None,
        is_doubtful: bool,
    ) -> Prospect:
        """At one that may be loaded later. Raises what a load does.

        Of content that was never tried it is known what is known of the same content `before`, or else it is
        guessed that it is like that. Where it `is_doubtful` that
        the files are those that were offered, or their stamps differ, they are read.
        """
        stamps = stamps_of(version)
        if not stamps:
            raise FilesChanged("there is no such file any more as was offered")
        if (is_doubtful or not are_as_offered(version, stamps)) and not self._same_content(version):
            raise FilesChanged("its files are not those that were offered")
        facts, bounds, is_guess = None, Bounds(requests=1, bytes=1), False
        described = Described.from_json(found.verdict.described.get("file"))
        if described is not None:
            assert offer.config is not None
            outside = interface(offer.config, described, version.version)
            bounds = bounds_of(self._loader.plan(outside.config, outside.predicts))
            facts = VersionFacts(
                model=offer.name,
                version=version.version,
                platform=described.platform,
                config=outside.config,
                signature=outside.sees,
                tally=Tally(load_seconds=found.verdict.load_seconds),
                devices=(),
                load_seconds=found.verdict.load_seconds,
                labels=labels_of(outside.config, offer.labels),
                examples=tuple(golden.read(path.read_bytes(), path.stem) for path in version.examples),
            )
        elif before is not None:
            was = before.facts
            bounds = bounds_of(self._loader.plan(was.config, was.signature))
            facts = replace(was, version=version.version, tally=Tally(), devices=())
            is_guess = not before.content.is_like(content)
        return Prospect(
            Origin(offer, version, content, stamps),
            self._known(offer, version, found.verdict, facts.config if facts and not is_guess else None),
            facts,
            bounds,
            found.before,
            is_guess,
        )

    def _known(
        self, offer: ModelOffer, version: VersionOffer, verdict: Verdict, complete: ModelConfig | None
    ) -> Known:
        """`complete` is the configuration with nothing left open, where that is known."""
        config = complete or offer.config
        assert config is not None
        instances: Counter[str] = Counter()
        platform = platform_for(config, version)
        for placement in self._loader.placements(config, platform):
            instances[str(placement.device)] += placement.count
        guess = estimate(
            verdict,
            file_bytes(version),
            instances,
            config.max_batch_size or 0,
            self._loader.process_bytes(config, platform),
        )
        return Known(needs=guess.needs, estimate=guess, load_s=verdict.load_seconds, learned=NOTHING_LEARNED)


def file_bytes(version: VersionOffer) -> int:
    """All that lies in its folder."""
    total = 0
    for place, _, names in os.walk(version.directory):  # which passes over folders that go meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total
