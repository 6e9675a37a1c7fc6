"""The chart as Helm itself sees it: it passes its lint, and renders with every values file."""

import pytest

from tests.deploy.chart.render import VALUES_FILES, arguments, component, lint, of_kind, render


def test_helm_finds_nothing_to_complain_of():
    assert lint() == []


def test_the_defaults_are_a_deployment_for_each_tier():
    deployments = of_kind(render(), "Deployment").values()
    assert [component(each) for each in deployments] == ["gateway", "pre", "predict", "post"]
    assert [arguments(each)[0] for each in deployments] == [
        "--role=gateway",
        "--role=pre",
        "--role=predict",
        "--role=post",
    ]


@pytest.mark.parametrize("file", VALUES_FILES)
def test_every_values_file_renders_and_passes_the_lint(file):
    assert render([file])
    assert lint([file]) == []
