"""What was asked of the slots of one model version, and what a row takes of them: for its saturation.

Plain arithmetic over what is counted and known anyway, done when somebody reads the gauge.
"""

from collections.abc import Iterable

from server.observe.demand import Asked
from server.observe.tally import Tally
from server.scheduling.plan import Plan
from server.scheduling.profile import Curve
from server.scheduling.run import Run
from server.scheduling.slots import Slots
from server.scheduling.target import most_rows


def asked_of(
    tally: Tally, running: Iterable[Run], slots: Slots, curve: Curve, plan: Plan, target_ns: int | None
) -> Asked:
    """Rows: those that ran, run, wait, were refused or left. Of what did not run, as many as of what did."""
    ran = tally.queue.count
    each = tally.inference_count / ran if ran and tally.inference_count else 1.0
    besides = tally.pending + sum(tally.refused.values()) + tally.unserved
    rows = tally.inference_count + sum([run.rows for run in running])
    if plan.rule is None:
        row_ns = curve.expect(max(1, round(each))) / each
    elif target_ns is None:
        row_ns = _best(curve, plan.max_rows)
    else:
        row_ns = _best(curve, most_rows(curve.expect, target_ns, max(1, len(slots)), plan.max_rows))
    return Asked(rows, row_ns or _measured(tally), len(slots), *slots.ground(), besides, each)


def _best(curve: Curve, most: int) -> float:
    """What a row takes in the best of the batches that were seen, up to so many rows; 0 if none was."""
    sizes = curve.sizes
    within = [rows for rows in sizes if rows <= most] or sizes[:1]
    return min([curve.expect(rows) / rows for rows in within], default=0.0)


def _measured(tally: Tally) -> float:
    """The same where shapes vary, of which there are many curves: by all runs so far."""
    runs = tally.batches.items()
    return min(
        [spans.compute_infer.ns / (rows * spans.compute_infer.count) for rows, spans in runs], default=0.0
    )
