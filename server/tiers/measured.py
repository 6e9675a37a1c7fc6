"""What a directory knows, as metrics show it."""

from collections.abc import Sequence

from server.observe.tiers import EndpointMeasured
from server.tiers.directory import Directory


def measured(directory: Directory) -> Sequence[EndpointMeasured]:
    return [
        EndpointMeasured(
            tier=each.stage,
            address=each.address,
            in_sight=bool(each.instance),
            ready=each.ready,
            saturation=each.saturation,
            bundles=each.link.parcels,
            requests=each.link.carried,
            unanswered=each.link.requests,
            ejections=each.link.outlier.ejections,
        )
        for each in directory.everyone()
    ]
