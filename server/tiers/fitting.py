"""What post-processing code in another process gave, as clients see it: the outputs of the contract alone."""

from uuid import uuid4

import structlog

from server.domain.catalogue import VersionFacts
from server.domain.errors import StageFailed
from server.domain.tensors import Tensors
from server.scheduling.ticket import Ticket

log = structlog.get_logger(__name__)


def as_seen(facts: VersionFacts, ticket: Ticket, outputs: Tensors) -> Tensors:
    """The outputs in the order of the contract, or all that were asked for.

    Raises `StageFailed` if one of those is not there; the log has its name.
    """
    seen, request = facts.signature, ticket.request
    wanted = request.outputs if request is not None else ()
    missing = [name for name in wanted or seen.output_order if name not in outputs]
    if missing:
        request_id = (request.id if request is not None else "") or uuid4().hex
        log.error("stage_output_missing", model=facts.model, missing=missing, request_id=request_id)
        raise StageFailed(facts.model, facts.version, "post", request_id)
    return {name: outputs[name] for name in wanted or seen.output_order}
