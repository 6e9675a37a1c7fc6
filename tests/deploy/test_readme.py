"""deploy/README.md says what is so: its commands name what there is, its figures are the benchmarks' own."""

import json
import re
import shlex
import statistics
from typing import Any

import pytest
import yaml

from server.settings import options
from tests.deploy.chart.render import of_kind, render, server
from tests.deploy.docker.dockerfile import stages
from tests.server_process import ROOT

README = (ROOT / "deploy" / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


OF_OTHERS = {"--sbom", "--env", "--set"}
"""Options that stand in running text and are those of Docker or Helm."""


def commands() -> list[list[str]]:
    (first, _) = re.findall(r"```sh\n(.*?)```", README, re.S)
    return [shlex.split(line) for line in first.splitlines()]


def result(name: str) -> Any:
    assert name in README
    return json.loads((RESULTS / name).read_text())


def test_it_takes_no_more_than_ten_commands():
    assert len(commands()) == 10


def test_what_is_built_is_pushed_and_is_what_the_chart_runs():
    built = {}
    for words in commands():
        if words[:2] == ["docker", "build"]:
            assert (ROOT / words[words.index("--file") + 1]).is_file()
            built[words[words.index("--tag") + 1]] = words[words.index("--target") + 1]
    assert set(built.values()) <= stages().keys()
    assert {words[2] for words in commands() if words[:2] == ["docker", "push"]} == built.keys()
    (helm,) = (words for words in commands() if words[:2] == ["helm", "install"])
    objects = render(sets=[helm[helm.index("--set") + 1]], name=helm[2])
    assert {server(each)["image"] for each in of_kind(objects, "Deployment").values()} == built.keys()
    assert "tercet-gateway" in of_kind(objects, "Deployment")
    assert 8000 in [port["port"] for port in of_kind(objects, "Service")["tercet"]["spec"]["ports"]]


def test_what_is_asked_at_the_end_is_asked_in_the_first_readme_too_whose_commands_are_run():
    asked = README[README.index("curl -s localhost:8000/v2/models/iris/predict") :].splitlines()[0]
    assert asked in (ROOT / "README.md").read_text()


def test_the_one_liners_name_files_and_profiles_that_there_are():
    compose = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())
    profiles = {each for service in compose["services"].values() for each in service["profiles"]}
    assert set(re.findall(r"--profile (\w+)", README)) <= profiles
    for path in re.findall(r"deploy/[\w/.-]+", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("folder", [".", "docker", "kserve", "compose", "helm/tercet"])
def test_every_option_of_a_server_that_is_named_is_one(folder):
    text = (ROOT / "deploy" / folder / "README.md").read_text()
    known = {option.flag for option in options().values()}
    for words in re.findall(r"`(--[a-z-]+)=?[^`]*`", text):
        assert words in known | OF_OTHERS, words


def row(line: Any) -> str:
    """A line of the benchmarks as the table has it."""
    named = {"json": "JSON", "binary": "binary", "grpc": "gRPC"}[line["door"]]
    median = line["median"]
    return (
        f"| `{line['model']}`, {line['clients']} | {named} | {median['requests_per_s']:,.0f} | "
        f"{median['p50_ms']:.1f} ms | {median['p99_ms']:.1f} ms | {median['cpu_us']:,.0f} µs |"
    )


def test_the_table_of_what_a_request_costs_is_that_of_the_benchmark():
    rows = {row(each) for each in result("2026-11-21-1558-bench.json")["lines"]}
    written = re.findall(r"^\| `\w+`, \d+ \|.*$", README, re.M)
    assert len(written) == 8
    assert set(written) <= rows


def test_the_figures_of_memory_and_residency_are_those_of_the_benchmarks():
    folders = result("2026-11-21-1806-lifecycle.json")["folders"]
    assert (
        f"{folders['memory_kib']:.1f} KiB, the first scan of 10,000 of them {folders['first_scan_s']:.1f} s"
        in (README.replace("\n", " "))
    )
    lifecycle = result("2026-11-21-2248-lifecycle.json")
    crowd = lifecycle["crowd"]
    warm = 1 - crowd["cold"] / crowd["requests"]
    assert f"{warm:.0%}".replace("%", " %") in README
    assert f"p50 {crowd['p50_ms']:.1f} ms, p99 {crowd['p99_ms']:.0f} ms" in README
    assert not crowd["failed"]
    assert f"{statistics.median(lifecycle['cold']['cold_s']):.2f} s after it is asked for" in README


def test_every_folder_of_deploy_is_in_the_list():
    folders = {path.parent.name for path in (ROOT / "deploy").glob("*/*") if path.suffix != ".pyc"}
    listed = {each.partition("/")[0] for each in re.findall(r"^\| \[[\w/]+\]\(([\w/]+)\)", README, re.M)}
    assert folders - {"dashboards", "alerts", "__pycache__"} == listed
