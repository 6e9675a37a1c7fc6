"""What is promised of scaling by the gauge, each promise with its aim; the issue is "Deploy"."""

from benchmarks.findings import aim

AIMS = tuple(
    each
    for name in ("pre", "predict")
    for each in (
        aim(f"{name}, the bottleneck: its processes over the need", f"{name} height", ".2f", at_least=1.0),
        aim(f"{name}: and not many more than that", f"{name} height", ".2f", at_most=1.34),
        aim(f"{name}: most processes of any other tier", f"{name} others", ".0f", at_most=1),
        aim(f"{name}: turns beyond one up and one down", f"{name} flaps", ".0f", at_most=0),
        aim(f"{name}: processes at the end", f"{name} last", ".0f", at_most=1),
        aim(f"{name}: failed requests that were not refused", f"{name} failed", ".0f", at_most=0),
        aim(f"{name}: s of the cluster until the burst is borne", f"{name} recovery", ".0f", at_most=180),
    )
)
