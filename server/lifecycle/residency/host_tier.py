"""Which versions that had to leave a device stay at hand in the host's memory. Pure.

Device memory comes first and the disk last; in between, the files of what left stay in memory as far as
`--host-cache-bytes` goes, so that a return costs no reading. What is resident needs no place here: its files
have been read, and it has a claim to a place only once it leaves.
"""

from collections.abc import Mapping, Sequence

from server.lifecycle.residency.accountant import Key


def who_stays(sizes: Mapping[Key, int], order: Sequence[Key], budget_bytes: int) -> frozenset[Key]:
    """`sizes` in bytes of files of all who have left; `order` as the policy gives it, the first to go first.

    Whoever is worth more goes before those worth less; one that does not fit leaves its place to them.
    """
    staying, left = set[Key](), budget_bytes
    for key in reversed(order):
        if sizes[key] <= left:
            staying.add(key)
            left -= sizes[key]
    return frozenset(staying)
