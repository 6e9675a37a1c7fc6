"""What is promised of tiers, each promise with its aim; the aims are those of the issue "Three tiers"."""

from benchmarks.findings import aim

AIMS = (
    *(
        each
        for door in ("grpc", "binary")
        for each in (
            aim(
                f"tiny, {door}, 64 clients: CPU of both tiers over fused",
                f"hop cpu ratio {door}",
                ".2f",
                at_most=2.2,
            ),
            aim(f"tiny, {door}, 64 clients: CPU us of both tiers", f"hop cpu {door}", ".1f", at_most=41),
            aim(f"tiny, {door}, alone: ms that the hop adds", f"hop alone {door}", ".2f", at_most=0.5),
        )
    ),
    aim("digits, scanned PNG files: share of the slowest stage", "digits share", ".1%", at_least=0.85),
    aim("photos, JPEG files: share of the slowest stage", "photos share", ".1%", at_least=0.85),
    aim("pre of 20 ms: two processes over one", "pre processes", ".2f", at_least=1.6),
    aim("4 MB in one process: copies of the payload", "copies fused", ".2f", at_most=0),
    aim("4 MB over the hop: copies on the sender's side", "copies sent", ".2f", at_most=1),
    aim("4 MB over the hop: copies on the receiver's side", "copies received", ".2f", at_most=1),
)
"""41 us is what Triton's C++ server spends in one process."""
