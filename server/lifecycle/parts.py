"""Which part of every version this process is for, and what that leaves of an offer. Pure.

A tier is offered the same folders as all others, and takes its own stage out of each. A version without
that stage is not there at all in this tier; the fingerprints stay, so that every tier means the same content.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from server.domain.offer import ModelOffer, Offers, VersionOffer
from server.domain.stage import StageName


@dataclass(frozen=True, slots=True)
class Parts:
    """What is loaded here: `stage` of every version, or all its stages for None."""

    stage: StageName | None = None

    def of(self, offers: Offers) -> Offers:
        """What there is for this process to load. An ensemble is nothing that one tier could answer."""
        if self.stage is None:
            return offers
        narrowed = {name: self._narrowed(offer) for name, offer in offers.items() if not is_ensemble(offer)}
        return {name: offer for name, offer in narrowed.items() if offer is not None}

    def _narrowed(self, offer: ModelOffer) -> ModelOffer | None:
        """None if none of its versions has this stage; what cannot be read, or is still written, may have."""
        versions = {
            number: replace(version, part=self.stage, examples=self._examples(version))
            for number, version in offer.versions.items()
            if self.stage in version.stages
        }
        if offer.versions and not versions and not offer.unsettled:
            return None
        return replace(offer, versions=versions)

    def _examples(self, version: VersionOffer) -> tuple[Path, ...]:
        """Those that can be asked here: they are questions to the first stage and answers of the last."""
        if self.stage == "pre" or version.stages == (self.stage,):
            return version.examples
        return ()


WHOLE = Parts()


def is_ensemble(offer: ModelOffer) -> bool:
    return offer.config is not None and offer.config.ensemble is not None
