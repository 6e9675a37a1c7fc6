"""Real tiers, scaled by what they say of themselves."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.autoscaling.pipelines import PIPELINES
from benchmarks.autoscaling.recording import Recording
from benchmarks.autoscaling.rehearsal import Plan, rehearse
from benchmarks.autoscaling.traffic import OK, REFUSALS

RISING = Recording(step_s=15, rates=[8] * 4 + [40] * 32)


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", PIPELINES)
def test_the_tier_that_has_too_much_to_do_grows_and_the_others_stay(tmp_path: Path, bottleneck: str):
    plan = Plan(recording=RISING, speed=20)
    journal = asyncio.run(rehearse(PIPELINES[bottleneck], plan, tmp_path))
    most = {tier: max(look.replicas for look in looks) for tier, looks in journal.looks.items()}
    assert most.pop(bottleneck) >= 2
    assert set(most.values()) == {1}
    counts = [look.replicas for look in journal.looks[bottleneck]]
    assert counts == sorted(counts), "while the load is high nobody is sent away"
    statuses = {told.status for told in journal.told}
    assert OK in statuses <= {OK, *REFUSALS}
