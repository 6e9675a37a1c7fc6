"""Whose fault it is that the model refuses what another tier's pre-processing made."""

from uuid import uuid4

import structlog

from server.domain.catalogue import VersionFacts
from server.domain.errors import InvalidRequest, ServingError, StageFailed

log = structlog.get_logger(__name__)


def blamed(error: ServingError, facts: VersionFacts, request_id: str) -> ServingError:
    """The error of a stage behind `pre`, as its caller is to hear it.

    A misfit is the code's fault, not the caller's. What post-processing refuses, in its own words, is not.
    """
    if not isinstance(error, InvalidRequest) or getattr(error, "stage", "") != "predict":
        return error
    request_id = request_id or uuid4().hex
    told = {"model": facts.model, "version": facts.version, "request_id": request_id}
    log.error("pre_output_misfit", reason=str(error), **told)
    return StageFailed(facts.model, facts.version, "pre", request_id)
