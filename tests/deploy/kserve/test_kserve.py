"""What deploy/kserve declares is KServe's own form, and starts a server that KServe's clients know."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from server.settings import options
from tests.deploy.chart.render import of_kind, render
from tests.deploy.declared import Declared, leaves, started
from tests.server_process import ROOT, SAMPLES

KSERVE = ROOT / "deploy" / "kserve"
RUNTIME = KSERVE / "clusterservingruntime.yaml"
SERVICES = KSERVE / "inferenceservice.yaml"
ASKED = {
    "inputs": [{"name": "measurements", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]
}


def runtime() -> Any:
    return yaml.safe_load(RUNTIME.read_text())["spec"]


def container() -> Any:
    (only,) = runtime()["containers"]
    return only


def faults(*files: Path) -> Any:
    """Of each file, of each document in it."""
    command = [sys.executable, "-m", "tests.deploy.kserve.shape", *map(str, files)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def test_the_files_have_the_form_of_kserves_own_classes():
    assert faults(RUNTIME, SERVICES) == [[[]], [[], []]]


def test_a_field_that_kserve_has_not_and_one_that_is_missing_are_found(tmp_path):
    spoilt = yaml.safe_load(RUNTIME.read_text())
    spoilt["spec"]["containers"][0]["readinessProbe"]["httpGet"]["prot"] = 8080
    spoilt["spec"]["protocolVersions"] = "v2"
    bare = {**spoilt, "spec": {"protocolVersion": "v2"}}
    (tmp_path / "spoilt.yaml").write_text(yaml.safe_dump_all([spoilt, bare]))
    named = "ClusterServingRuntime.spec"
    ((first, second),) = faults(tmp_path / "spoilt.yaml")
    assert f"{named}.containers[0].readinessProbe.httpGet has prot, which V1HTTPGetAction has not" in first
    assert f"{named}.protocolVersions is no list" in first
    assert second == [
        f"{named} has protocolVersion, which V1alpha1ServingRuntimeSpec has not",
        f"{named}: Invalid value for `containers`, must not be `None`",
    ]


def test_the_charts_runtime_is_the_same_but_for_what_an_operator_chooses():
    """Arguments, probes, ports, formats and rights; image, resources and volumes are the operator's."""
    rendered = of_kind(render(["values-kserve.yaml"]), "ClusterServingRuntime")["tercet"]
    ours, (chart,) = container(), rendered["spec"]["containers"]
    assert rendered["spec"]["annotations"] == runtime()["annotations"]
    assert rendered["spec"]["protocolVersions"] == runtime()["protocolVersions"]
    assert formats(rendered["spec"]) == formats(runtime())
    assert ours["args"][0] == chart["command"][-1] == "serve"
    assert sorted(chart["args"]) == sorted(ours["args"][1:])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert chart[probe] == ours[probe]
    assert chart["securityContext"].items() <= ours["securityContext"].items()
    assert chart["image"].partition(":")[0] == ours["image"].partition(":")[0]


def formats(spec: Any) -> list[dict[str, Any]]:
    """Where nothing is said, KServe does not take it by itself."""
    return [{"autoSelect": False, **each} for each in spec["supportedModelFormats"]]


def test_kserve_takes_it_by_itself_for_formats_that_can_only_be_meant_for_it():
    formats = {each["name"]: each["autoSelect"] for each in runtime()["supportedModelFormats"]}
    assert formats == {"onnx": True, "torchscript": True, "pytorch": False, "triton": False}
    assert runtime()["protocolVersions"] == ["v2", "grpc-v2", "v1"]


def test_it_listens_where_tritons_runtime_does():
    declared = Declared(container()["args"])
    assert (declared.port("http"), declared.port("grpc"), declared.port("metrics")) == (8080, 9000, 8002)
    assert runtime()["annotations"]["prometheus.kserve.io/port"] == "8002"
    services = yaml.safe_load_all(SERVICES.read_text())
    ports = [port for each in services for port in each["spec"]["predictor"]["model"].get("ports", ())]
    assert [port["containerPort"] for port in ports] == [declared.port("grpc")]


def test_the_examples_name_the_runtime_and_what_it_supports():
    names = {each["name"] for each in runtime()["supportedModelFormats"]}
    for service in yaml.safe_load_all(SERVICES.read_text()):
        model = service["spec"]["predictor"]["model"]
        assert model["runtime"] == yaml.safe_load(RUNTIME.read_text())["metadata"]["name"]
        assert model["modelFormat"]["name"] in names
        assert model["protocolVersion"] in runtime()["protocolVersions"]


def test_a_pod_is_given_longer_than_the_server_takes_to_go():
    words = dict(word.partition("=")[::2] for word in container()["args"])
    longest = float(words["--drain-grace-secs"]) + float(words["--exit-timeout-secs"])
    kubernetes_own = 30.0
    assert longest < kubernetes_own
    for service in yaml.safe_load_all(SERVICES.read_text()):
        assert service["spec"]["predictor"].get("terminationGracePeriodSeconds", kubernetes_own) > longest


def a_triton_repository(mounted: Path) -> None:
    for model in ("iris", "digits_onnx"):
        shutil.copytree(SAMPLES / model, mounted / model)


def one_models_folder(mounted: Path) -> None:
    shutil.copytree(SAMPLES / "iris", mounted, dirs_exist_ok=True)


def a_file_alone(mounted: Path) -> None:
    shutil.copy(SAMPLES / "iris" / "1" / "model.onnx", mounted / "iris-classifier.onnx")


@pytest.mark.parametrize(
    "storage",
    [
        a_triton_repository,
        pytest.param(one_models_folder, marks=pytest.mark.slow),
        pytest.param(a_file_alone, marks=pytest.mark.slow),
    ],
)
def test_what_a_storage_uri_leads_to_is_served_by_the_containers_own_arguments(storage, tmp_path):
    mounted = tmp_path / "mnt" / "models"
    mounted.mkdir(parents=True)
    storage(mounted)
    declared = Declared(container()["args"]).swapped({"/mnt/models": str(mounted), "{{.Name}}": "iris"})
    assert {word.partition("=")[0] for word in declared.words[1:]} <= {
        option.flag for option in options().values()
    }
    with started(declared, tmp_path / "log") as server:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container()[probe]["httpGet"]
            assert asked["port"] == Declared(container()["args"]).port("http")
            server.until(lambda path=asked["path"]: answers(server, path))
        answer = server.client.post("/v2/models/iris/infer", json=ASKED).json()
        assert answer["model_name"] == "iris"
        assert (("digits_onnx", "1") in server.index()) == (storage is a_triton_repository)
        if storage is a_triton_repository:
            assert_kserves_clients_are_answered(server)
        assert leaves(server, 30) == 0


def answers(server: Any, path: str) -> bool:
    try:
        return server.client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def assert_kserves_clients_are_answered(server: Any) -> None:
    command = [sys.executable, "-m", "tests.deploy.kserve.calls", server.http, server.grpc]
    came = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    assert json.loads(came.stdout) == {"v2": True, "grpc-v2": True, "v1": True}
