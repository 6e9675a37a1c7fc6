"""Which versions of a remote model are to be on this node.

Pure. The version policy decides, as it does over folders; beyond that, what serves stays until its successor
does, because a version that leaves the node leaves the server.
"""

from collections.abc import Collection, Mapping

from server.domain.configuration import VersionPolicy
from server.repository.remote.listing import Listing, holds_a_model


def versions_to_bring(
    remote: Mapping[int, Listing], settled: Collection[int], here: Collection[int], policy: VersionPolicy
) -> frozenset[int]:
    """Those of the settled versions that the policy chooses.

    A version that names no model file never takes the place of one that does; it is brought beside it, so
    that the index can say what is wrong with it. What is here and being written anew still counts.
    """
    present = frozenset(remote) & (frozenset(settled) | frozenset(here))
    good = frozenset(version for version in present if holds_a_model(remote[version]))
    return (policy.choose(good) | policy.choose(present)) & frozenset(settled)


def versions_to_keep(
    remote: Collection[int], here: Collection[int], brought: Collection[int], in_use: Collection[int]
) -> frozenset[int]:
    """Those that are here and stay: chosen by now, or still serving and not deleted at their source."""
    return frozenset(here) & frozenset(remote) & (frozenset(brought) | frozenset(in_use))
