"""What is reported of one version of this process. Pure.

Shapes and the configuration are told as far as this tier knows them: of a pre or a post tier's version, what
its code declares, and of the model all that is in force.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from server.domain.catalogue import VersionFacts
from server.domain.configuration import ModelConfig, Platform
from server.domain.offer import VersionOffer
from server.domain.signature import Signature
from server.domain.stage import StageName
from server.domain.state import State, Status
from server.domain.tier import Seen, VersionReport
from server.lifecycle.described import signature_of
from server.lifecycle.ensemble import EnsembleVersion
from server.lifecycle.idle import IdleVersion
from server.lifecycle.part_version import PartVersion
from server.lifecycle.served import Served
from server.lifecycle.version import ServedVersion
from server.observe.tally import Tally
from server.wire.configuration import model_config_message


def serving(status: Status, served: Served, stages: Sequence[StageName]) -> VersionReport:
    """Of a version that requests reach. `stages` are all that it has."""
    facts = served.facts
    return VersionReport(
        model=facts.model,
        version=facts.version,
        content=served.content.whole,
        state=status.state,
        reason=status.reason,
        since=status.since,
        stages=tuple(stages),
        platform=facts.platform,
        config=_config(replace(facts, signature=_own_signature(served))),
        seen=_seen(served),
        labels=dict(facts.labels),
        load_seconds=facts.load_seconds,
        resident=not isinstance(served, IdleVersion),
    )


def waiting(status: Status, offered: str, stages: Sequence[StageName]) -> VersionReport:
    """Of one that none reaches, or of a model as a whole. `offered` is the content that is to be loaded."""
    return VersionReport(
        model=status.model,
        version=status.version,
        content=offered,
        state=status.state,
        reason=status.reason,
        since=status.since,
        stages=tuple(stages),
    )


def ensemble(
    config: ModelConfig,
    version: VersionOffer,
    content: str,
    since: float,
    labels: Mapping[str, Sequence[str]],
    problem: str,
) -> VersionReport:
    """Of an ensemble, in a tier that could not answer it: its steps are a gateway's to run.

    `problem` is why it cannot be served, or empty.
    """
    signature = signature_of(config)
    facts = VersionFacts(
        model=config.name,
        version=version.version,
        platform=Platform.ENSEMBLE,
        config=config,
        signature=signature,
        tally=Tally(),
        devices=(),
        load_seconds=0.0,
    )
    return VersionReport(
        model=config.name,
        version=version.version,
        content=content,
        state=State.UNAVAILABLE if problem else State.READY,
        reason=problem,
        since=since,
        platform=Platform.ENSEMBLE,
        config=_config(facts),
        seen=_as_seen(signature, declared=False),
        labels=labels,
        resident=True,
    )


def _seen(served: Served) -> Seen:
    """Without what only another tier knows."""
    signature = served.facts.signature
    if isinstance(served, PartVersion):
        declared = served.part.contract
        told = declared or ()
        takes, gives = (told, ()) if served.stage == "pre" else ((), told)
        return replace(
            _as_seen(signature, declared=declared is not None), inputs=tuple(takes), outputs=tuple(gives)
        )
    if isinstance(served, ServedVersion):
        codes = [part for part in (served.pre, served.post) if part is not None]
        return _as_seen(signature, declared=any(part.contract is not None for part in codes))
    return _as_seen(signature, declared=False)


def _as_seen(signature: Signature, *, declared: bool) -> Seen:
    return Seen(
        inputs=signature.inputs,
        outputs=signature.outputs,
        max_batch_size=signature.max_batch_size,
        most_rows=signature.most_rows,
        optional=signature.optional,
        declared=declared,
    )


def _own_signature(served: Served) -> Signature:
    """That of the model: whoever puts the tiers together lays the contracts of the code over it."""
    if isinstance(served, PartVersion | IdleVersion):
        return signature_of(served.facts.config)
    if isinstance(served, EnsembleVersion):
        return served.facts.signature
    return served.predicts


def _config(facts: VersionFacts) -> bytes:
    return model_config_message(facts).SerializeToString()
