"""Who checks the expressions: what is there passes, and what is not is named."""

import pytest

from tests.deploy.pictures.promql import TARGET_LABELS, Unfounded, labels_of

KNOWN = {
    "requests": frozenset({"model", "reason"}),
    "took_bucket": frozenset({"model", "le"}),
    "target": frozenset({"model"}),
    "info": frozenset({"tier"}),
}


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ('sum by (model) (rate(requests{reason="x"}[5m]))', {"model"}),
        ("sum(requests)", set()),
        ("topk(3, max by (model, job) (requests))", {"model", "job"}),
        ("histogram_quantile(0.9, sum by (le, model) (rate(took_bucket[5m])))", {"model"}),
        ("sum by (tier) (requests * on (instance) group_left (tier) info)", {"tier"}),
        ("sum by (model) (requests and on (job, instance) info)", {"model"}),
        ("sum by (model) (requests) / on (model) max by (model) (target)", {"model"}),
        ("count(target) or vector(0)", set()),
        ("time() - max by (instance) (target)", {"instance"}),
        ("(1 - sum by (job) (requests)) > 0.5", {"job"}),
    ],
)
def test_the_labels_of_an_answer_are_known_beforehand(expr, labels):
    assert labels_of(expr, KNOWN) == labels


def test_what_is_not_added_up_has_the_labels_of_its_target_too():
    assert labels_of("target", KNOWN) >= TARGET_LABELS | {"model"}


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        ("sum(request)", "request"),
        ('requests{modell="m"}', "modell"),
        ("sum by (version) (requests)", "version"),
        ("max by (le) (histogram_quantile(0.9, took_bucket))", "le"),
        ("requests * on (instance, model) group_left (tier) info", "model"),
        ("target * on (instance) group_left (reason) info", "reason"),
        ("sum by (model) (requests) / sum by (job) (requests)", "never meets"),
        ("requests / ignoring (reason) target", "ignoring"),
        ("sum by (tier) (requests * on (job, instance) info)", "tier"),
    ],
)
def test_what_is_not_there_is_named(expr, named):
    with pytest.raises(Unfounded, match=named):
        labels_of(expr, KNOWN)
