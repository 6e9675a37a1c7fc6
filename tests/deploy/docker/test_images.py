"""The images are what an SRE may ask of them: small rights, real options, a check that sees a server."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from deploy.docker.lock import IMAGES
from server.settings import options
from tests.certificates import Authority
from tests.deploy.docker.dockerfile import stages
from tests.server_process import ROOT, SAMPLES, free_ports, running

each_image = pytest.mark.parametrize("name", IMAGES)

NOBODY = "65532"

READ_ONLY = """
mount --make-rprivate / && mount --rbind / / || exit 99
awk '{print $2}' /proc/self/mounts | while read place; do mount -o remount,bind,ro "$place" 2>/dev/null; done
touch /tmp/is-it 2>/dev/null && exit 98
exec "$@"
"""
"""Everything read-only, in a namespace of its own, before the command in the arguments."""


@each_image
def test_an_image_runs_as_nobody_by_number_so_that_kubernetes_can_tell(name):
    assert stages()[name].last("USER") == f"{NOBODY}:{NOBODY}"


@each_image
def test_an_image_has_only_what_its_lock_names(name):
    copies = [value for instruction, value in stages()[name].all if instruction == "COPY"]
    assert copies == [f"--from=with-{name} /opt/tercet /opt/tercet"]
    fills = [value for instruction, value in stages()[f"with-{name}"].own if instruction == "RUN"]
    synced, own = (shlex.split(fill) for fill in fills)
    assert synced[-1] == f"locks/{name}.lock"
    assert "--require-hashes" in synced
    assert {"--no-deps", "--no-index"} <= set(own)


@each_image
def test_the_dockerfile_installs_torch_without_cuda_where_the_lock_has_it(name):
    fill = next(value for instruction, value in stages()[f"with-{name}"].own if instruction == "RUN")
    assert ("--torch-backend=cpu" in fill) == IMAGES[name].cpu_torch


@each_image
def test_an_image_is_labelled_as_the_open_container_initiative_names_things(name):
    labels = stages()[name].labels()
    kinds = {"title", "description", "version", "revision", "created"}
    assert {f"org.opencontainers.image.{kind}" for kind in kinds} == labels.keys()
    assert labels["org.opencontainers.image.title"].startswith("Tercet: ")


@each_image
def test_the_environment_of_an_image_names_options_that_there_are(name):
    known = {option.variable for option in options().values()}
    named = {variable for variable in stages()[name].environment() if variable.startswith("TERCET_")}
    assert named
    assert named <= known


def test_the_stages_image_ends_its_builds_without_a_package_manager_for_the_server():
    made = [value for instruction, value in stages()["build"].own if "venv" in value]
    assert made == ["python -m venv --without-pip /opt/tercet"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """What an image starts, of the one folder that a container would have at /models."""
    image = stages()["predict-cpu"]
    assert image.words("ENTRYPOINT") == ["tercet"]
    assert image.words("CMD") == ["serve", "/models"]
    log = tmp_path_factory.mktemp("image") / "log"
    ours = {name: value for name, value in image.environment().items() if name.startswith("PYTHON")}
    with running(log, SAMPLES, options=["--include-models=iris"], environment=ours) as server:
        yield server


def check(name: str, port: str) -> int:
    """The exit code of an image's health check, made to ask this port."""
    kind, _, command = stages()[name].last("HEALTHCHECK").partition(" CMD ")
    assert "--start-period" in kind
    words = json.loads(command)
    assert words.pop(0) == "python"
    environment = {**os.environ, "TERCET_METRICS_PORT": port}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True).returncode


@each_image
def test_the_health_check_sees_a_server_and_a_server_that_has_gone(name, server):
    assert check(name, server.metrics.rpartition(":")[2]) == 0
    assert check(name, str(free_ports(1)[0])) == 1


def test_the_health_check_sees_a_server_behind_tls_that_asks_clients_for_certificates(tmp_path):
    authority = Authority(tmp_path)
    signed = authority.pair("server")
    tls = [
        f"--tls-certificate={signed.certificate}",
        f"--tls-key={signed.key}",
        f"--tls-client-ca={authority.ca}",
    ]
    (tmp_path / "models").mkdir()
    with running(tmp_path / "log", tmp_path / "models", options=tls, wait=False) as server:
        server.until(lambda: check("stages", server.metrics.rpartition(":")[2]) == 0, within_s=90)


@pytest.mark.root
def test_a_server_starts_and_answers_where_nothing_can_be_written_not_even_tmp(tmp_path):
    (tmp_path / "confined.py").write_text(
        "import subprocess, sys, os\n"
        f"words = ['unshare', '--mount', 'sh', '-c', {READ_ONLY!r}, 'confined', sys.executable]\n"
        "os.execvp(words[0], [*words, '-m', 'server.cli', *sys.argv[1:]])\n"
    )
    with running(
        tmp_path / "log",
        SAMPLES,
        options=["--include-models=iris", "--verify-models=true"],
        program=[str(tmp_path / "confined.py")],
        environment={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    ) as server:
        assert "version_verified model=iris" in server.log
        asked = {"measurements": [5.1, 3.5, 1.4, 0.2]}
        assert server.client.post("/v2/models/iris/predict", json=asked).status_code == 200
