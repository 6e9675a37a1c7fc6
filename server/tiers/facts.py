"""What clients are told of a version that several tiers do: put together from what these report."""

from collections.abc import Mapping
from math import prod

from server.domain.catalogue import VersionFacts
from server.domain.errors import ServingError
from server.domain.signature import Signature
from server.domain.stage import StageName
from server.domain.tensors import DATATYPES, VARIABLE
from server.domain.tier import Seen, VersionReport
from server.lifecycle.ensemble import Find
from server.lifecycle.member_labels import MemberLabels
from server.observe.tally import Tally
from server.repository.configuration import read_message
from server.repository.invalid import ConfigInvalid


class Unusable(Exception):
    """What the tiers report cannot be served from here; the sentence says why."""


def facts_of(reports: Mapping[StageName, VersionReport], find: Find) -> VersionFacts:
    """The facts, from what a process of each tier says that has a part of the version: ready, of one content.

    Clients see the inputs that the pre stage declares and the outputs that the post stage declares, and else
    those of the model. The configuration is the predict tier's, which knows the model's own file. `find` is
    for the labels of an ensemble's members.

    Raises `Unusable`.
    """
    predict = reports.get("predict")
    if predict is None:
        raise Unusable("no tier says that it predicts")
    try:
        config = read_message(predict.config, predict.model).config
    except ConfigInvalid as fault:
        raise Unusable(f"the gateway cannot read its configuration: {fault}") from None
    labels = {name: names for report in reports.values() for name, names in report.labels.items()}
    load_seconds = max(report.load_seconds for report in reports.values())
    assert predict.version is not None
    return VersionFacts(
        model=predict.model,
        version=predict.version,
        platform=predict.platform,
        config=config,
        signature=_signature(predict.model, {stage: report.seen for stage, report in reports.items()}),
        tally=Tally(load_seconds=load_seconds),
        devices=(),
        load_seconds=load_seconds,
        labels=labels
        if config.ensemble is None
        else MemberLabels(labels, config.ensemble, lambda model, wanted: find(model, wanted).facts),
    )


def _signature(model: str, told: Mapping[StageName, Seen | None]) -> Signature:
    predict, pre, post = told["predict"], told.get("pre"), told.get("post")
    if predict is None:
        raise Unusable("the predict tier does not say what it takes and gives")
    try:
        return Signature(
            model,
            pre.inputs if pre is not None and pre.declared else predict.inputs,
            post.outputs if post is not None and post.declared else predict.outputs,
            predict.max_batch_size,
            predict.optional,
            predict.most_rows,
        )
    except (ServingError, KeyError) as fault:  # a datatype of a later release
        raise Unusable(f"the gateway does not know a datatype of it: {fault}") from None


def row_bytes_of(signature: Signature) -> int:
    """Bytes of one row of all inputs; 0 where that is not the same for every request."""
    total = 0
    for spec in signature.inputs:
        rest = spec.shape[1:] if signature.max_batch_size else spec.shape
        if spec.datatype == "BYTES" or VARIABLE in rest or signature.optional:
            return 0
        total += DATATYPES[spec.datatype].itemsize * prod(rest)
    return total
