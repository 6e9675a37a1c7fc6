"""What we promise of scheduling, each promise with its aim; the aims are those of the issue "Scheduling"."""

from benchmarks.findings import aim
from benchmarks.scheduling.overload import MOST_DOUBT
from benchmarks.scheduling.yardstick import WHERE_AIMS_WERE_SET_US

AIMS = (
    *(
        each
        for where in ("simulated", "live")
        for each in (
            aim(
                f"{where}: goodput over the best fixed, any load, + 2 se",
                f"{where} against fixed",
                ".3f",
                at_least=1.0,
            ),
            aim(f"{where}: these two standard errors", f"{where} doubt", ".3f", at_most=MOST_DOUBT),
            aim(f"{where}: goodput of capacity at 1.0 to 2.0", f"{where} of capacity", ".1%", at_least=0.9),
            aim(f"{where}: p99 of the answered over the target", f"{where} p99", ".2f", at_most=1.0),
            aim(f"{where}: p99 of a refusal, ms", f"{where} p99 refusal", ".1f", at_most=5.0),
        )
    ),
    aim("live: runs within 10 % of the foretold, quiet, loads 1 to 2", "predicted", ".1%", at_least=0.95),
    aim(
        "live: the same at 0.7, over a bare session's after rests",
        "predicted after rests",
        ".2f",
        at_least=1.0,
    ),
    aim("scheduler's CPU us/request in batches", "cost in batches", ".1f", at_most=3.0),
    aim("scheduler's CPU us/request alone", "cost alone", ".1f", at_most=10.0),
    *(
        aim(
            f"the same {how}, of the prototype's whole request",
            f"share {how}",
            ".2f",
            at_most=round(us / WHERE_AIMS_WERE_SET_US, 2),
        )
        for how, us in (("in batches", 3.0), ("alone", 10.0))
    ),
    *(
        aim(f"{where}: {name} requests in time", f"{key} {where}", ".2%", at_least=0.99)
        for key, name in (("fast", "fast beside slow:"), ("steady", "steady beside flood:"))
        for where in ("simulated", "live")
    ),
)
