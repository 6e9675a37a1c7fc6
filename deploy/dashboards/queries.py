"""Pieces of PromQL that the panels are put together from. Pure.

Every process of every tier counts what it has done, so that one request of a server in tiers stands in the
counters of several processes: whoever adds up says of which tiers. A process says its tier in
`tercet_build_info`; `role` and `process` tell those apart that `tercet up` shows on one page.
"""

from collections.abc import Callable

ONE_PROCESS = "namespace, job, instance, role, process"

CHOSEN = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
CHOSEN_MODELS = f'{CHOSEN},model=~"$model"'


def of(metric: str, *matchers: str) -> str:
    """A metric of the chosen processes; further `matchers` as PromQL has them."""
    return f"{metric}{{{','.join((CHOSEN, *matchers))}}}"


def model(metric: str, *matchers: str) -> str:
    """A metric of the chosen models."""
    return f"{metric}{{{','.join((CHOSEN_MODELS, *matchers))}}}"


def rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def at_the_door(series: str) -> str:
    """Only of processes that clients ask: each request once."""
    return _of_tiers(series, "all|gateway")


def where_it_runs(series: str) -> str:
    """Only of processes that have the model: each run once."""
    return _of_tiers(series, "all|predict")


def in_their_tier(series: str) -> str:
    """With the label `tier`."""
    return f"{series} * on ({ONE_PROCESS}) group_left (tier) tercet_build_info"


def total(series: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({series})" if by else f"sum({series})"


def quantile(share: float, buckets: str, *by: str) -> str:
    """Of a histogram's rate."""
    return f"histogram_quantile({share}, {total(buckets, 'le', *by)})"


def mean(metric: str, *by: str, of_tiers: Callable[[str], str]) -> str:
    """Of a histogram: its sum over its count."""
    return share(*(total(of_tiers(rate(model(f"{metric}_{part}"))), *by) for part in ("sum", "count")))


def share(part: str, whole: str) -> str:
    """Nothing where the whole is 0, rather than a division by it."""
    return f"{part} / ({whole} > 0)"


def of_all_tiers(series: str) -> str:
    return series


def _of_tiers(series: str, tiers: str) -> str:
    return f'{series} and on ({ONE_PROCESS}) tercet_build_info{{tier=~"{tiers}"}}'
