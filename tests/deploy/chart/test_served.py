"""What the chart asks of a process, asked of a real one: its probes, and the question of `helm test`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256

import httpx
import pytest

from tests.deploy.chart.render import component, of_kind, render, server
from tests.server_process import ROOT, SAMPLES, Server, running

KEY = "the-key-of-helm-test"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets nobody infer who has no key, as the chart has it where there are keys."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "models").mkdir()
    (folder / "models" / "iris").symlink_to(SAMPLES / "iris")
    keys = [{"name": "test", "sha256": sha256(KEY.encode()).hexdigest(), "rights": ["inference"]}]
    (folder / "keys.json").write_text(json.dumps(keys))
    options = [f"--api-keys={folder / 'keys.json'}", "--anonymous-rights=metrics"]
    with running(folder / "log", folder / "models", options=options, wait=False) as process:
        process.until(process.ready, within_s=120)
        yield process


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
@pytest.mark.parametrize("role", ["gateway", "predict"])
def test_the_paths_of_the_probes_are_served_on_the_metrics_port_to_everybody(started, role, probe):
    deployments = of_kind(render(), "Deployment").values()
    deployment = next(each for each in deployments if component(each) == role)
    path = server(deployment)[probe]["httpGet"]["path"]
    assert httpx.get(f"http://{started.metrics}{path}").status_code == 200


def asked(started: Server, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What the Pod of `helm test` runs, run here, and sent to this server."""
    sets = ["security.apiKeys.secret=keys", "test.keySecret=key"]
    (container,) = of_kind(render((), sets), "Pod")["tercet-test"]["spec"]["containers"]
    assert [each["name"] for each in container["env"]] == ["TERCET_KEY"]
    tercet, *words = [*container["command"], *container["args"]]
    assert tercet == "tercet"
    here = [f"--url={started.http}" if word.startswith("--url=") else word for word in words]
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *here],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_helm_test_infers_with_its_key(started):
    answer = asked(started, {"TERCET_KEY": KEY})
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["label"] == 0


def test_helm_test_fails_with_the_servers_sentence_where_it_may_not_ask(started):
    answer = asked(started, {"TERCET_KEY": "another"})
    assert answer.returncode == 1
    assert answer.stderr.startswith("tercet: ")
