"""The chart as Helm itself sees it: it passes its lint, and renders with every values file."""

from pathlib import Path

import helm_python
import pytest

from tests.deploy.chart.render import CHART, VALUES_FILES, arguments, component, lint, of_kind, render


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


def test_the_package_is_the_folder_with_all_that_its_links_lead_to(tmp_path):
    """The sample models are links into the repository: a package has the files themselves."""
    archive = helm_python.package(CHART, destination=tmp_path)
    packed = helm_python.Chart.load(archive).render({}, name="tercet", namespace="models")
    assert packed == helm_python.Chart.load(CHART).render({}, name="tercet", namespace="models")


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in(tmp_path):
    """A secret holds 1 MiB; Helm writes the packed chart and what it rendered, in base64."""
    archive = Path(helm_python.package(CHART, destination=tmp_path))
    assert archive.stat().st_size < 512 * 1024
