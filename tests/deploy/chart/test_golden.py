"""What the chart renders, word for word: a change of a template shows as a diff of golden/."""

import pytest

from tests.deploy.chart.render import render
from tests.deploy.chart.rewrite import GOLDEN, GOLDENS, golden_text


@pytest.mark.parametrize("name", GOLDENS)
def test_the_render_is_the_one_that_was_looked_at(name):
    """If this fails and the change is meant: python -m tests.deploy.chart.rewrite, and look at the diff."""
    files, sets = GOLDENS[name]
    assert golden_text(render(files, sets)) == (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")


def test_there_is_no_golden_render_of_what_is_gone():
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == GOLDENS.keys()
