"""What the chart renders starts: each Deployment's container as a real process, with all that it declares.

The chart cannot drift from the program. Addresses are replaced by the loopback and mounts by folders here,
through `Pod` alone; a shorter grace of the gateways is the one other thing that differs.
"""

import base64
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest

from tests.certificates import Authority
from tests.deploy.chart.render import Object, component, of_kind, render, server
from tests.deploy.declared import DOORS, Declared, leaves, started
from tests.security.tokens import AUDIENCE, ISSUER, Issuer, key_set
from tests.server_process import Server, free_ports

ASKED = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
SHORTER = {"--drain-grace-secs=10": "--drain-grace-secs=1"}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
FRONT_TO_BACK = ("gateway", "pre", "predict", "post")

Secrets = Mapping[str, Mapping[str, bytes]]
"""Secret -> key -> what is in it: what an operator, or cert-manager, would have put there."""

NO_SECRETS: Secrets = {}


@dataclass(frozen=True)
class Pod:
    """One of a Deployment's, here: its mounts are folders, and its ports others.

    ports   of each door, in the order of `DOORS`
    """

    spec: Object
    container: Object
    declared: Declared
    mounts: Mapping[str, Path]
    ports: Sequence[int]

    def here(self, addresses: Mapping[str, str]) -> Declared:
        """What its container declares, with the addresses of services in the place of their names."""
        places = {path: str(folder) for path, folder in self.mounts.items()}
        return self.declared.swapped({**places, **addresses, **SHORTER})

    @property
    def stop_s(self) -> float:
        """What is left of the grace when the process hears that it is to go."""
        sleeps = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        return float(self.spec["terminationGracePeriodSeconds"] - sleeps)

    def probe(self, name: str) -> tuple[int, str]:
        """The port here and the path of a probe."""
        asked = self.container[name]["httpGet"]
        named = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        port = named.get(asked["port"], asked["port"])
        declared = {self.declared.port(door): at for door, at in zip(DOORS, self.ports, strict=True)}
        return declared[port], asked["path"]

    def answers(self, name: str) -> int:
        """The status that a probe gets; 0 where nobody listens. As the kubelet, it takes any certificate."""
        port, path = self.probe(name)
        scheme = self.container[name]["httpGet"].get("scheme", "HTTP").lower()
        try:
            return httpx.get(f"{scheme}://127.0.0.1:{port}{path}", verify=False, timeout=10).status_code
        except httpx.TransportError:
            return 0


def pod(deployment: Object, objects: Sequence[Object], folder: Path, secrets: Secrets) -> Pod:
    """What the kubelet would make of a Deployment's template, of mounts that can be made here."""
    spec, container = deployment["spec"]["template"]["spec"], server(deployment)
    environment = {each["name"]: each["value"] for each in container.get("env") or ()}
    assert container["command"][0] == "tercet"
    declared = Declared([*container["command"][1:], *container["args"]], environment)
    volumes = {each["name"]: each for each in spec["volumes"]}
    mounts = {}
    for mount in container["volumeMounts"]:
        place = folder / component(deployment) / mount["name"]
        _fill(place, volumes[mount["name"]], objects, secrets)
        mounts[mount["mountPath"]] = place
    return Pod(spec, container, declared, mounts, free_ports(len(DOORS)))


def _fill(place: Path, volume: Mapping[str, Any], objects: Sequence[Object], secrets: Secrets) -> None:
    place.mkdir(parents=True)
    if "emptyDir" in volume:
        return
    if "secret" in volume:
        for key, content in secrets[volume["secret"]["secretName"]].items():
            (place / key).write_bytes(content)
        return
    source = volume["configMap"]
    held = of_kind(objects, "ConfigMap")[source["name"]]
    for item in source["items"]:
        file = place / item["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        if item["key"] in held.get("binaryData", {}):
            file.write_bytes(base64.b64decode(held["binaryData"][item["key"]]))
        else:
            file.write_text(held["data"][item["key"]])


def pods(objects: Sequence[Object], folder: Path, secrets: Secrets = NO_SECRETS) -> dict[str, Pod]:
    """Role -> one Pod of its Deployment, from the front to the back."""
    deployments = {component(each): each for each in of_kind(objects, "Deployment").values()}
    roles = sorted(deployments, key=lambda role: FRONT_TO_BACK.index(role) if role in FRONT_TO_BACK else 0)
    return {role: pod(deployments[role], objects, folder, secrets) for role in roles}


def addresses(objects: Sequence[Object], running: Mapping[str, Pod]) -> dict[str, str]:
    """What a tier's headless Service would be resolved to: the one process there is, at its gRPC port."""
    found = {}
    for name, service in of_kind(objects, "Service").items():
        role = service["spec"]["selector"].get("app.kubernetes.io/component")
        if role in running and service["spec"].get("clusterIP") == "None":
            (port,) = [each["port"] for each in service["spec"]["ports"] if each["name"] == "grpc"]
            namespace = service["metadata"]["namespace"]
            grpc = running[role].ports[list(DOORS).index("grpc")]
            found[f"dns:///{name}.{namespace}.svc:{port}"] = f"127.0.0.1:{grpc}"
    return found


@contextmanager
def all_running(
    objects: Sequence[Object], folder: Path, secrets: Secrets = NO_SECRETS
) -> Iterator[tuple[dict[str, Pod], dict[str, Server]]]:
    """A process of every Deployment, started at once, as `helm install` does."""
    running = pods(objects, folder, secrets)
    known = addresses(objects, running)
    with ExitStack() as stack:
        servers = {
            role: stack.enter_context(started(each.here(known), folder / f"{role}.log", ports=each.ports))
            for role, each in running.items()
        }
        for role in reversed(servers):  # the gateways wait for the others, so who fails is seen first
            each = running[role]
            for name in PROBES:
                servers[role].until(lambda each=each, name=name: each.answers(name) == 200, within_s=180)
        yield running, servers


def assert_it_drains(each: Pod, process: Server) -> None:
    """It serves on while it is not ready any more, and is gone within what its Pod leaves it."""
    process.terminate()
    process.until(lambda: each.answers("readinessProbe") == 503)
    assert each.answers("livenessProbe") == 200
    assert process.client.post("/v1/models/iris:predict", json=ASKED).status_code == 200
    assert process.wait(each.stop_s) == 0, process.log


@pytest.fixture(scope="module")
def tiers() -> list[Object]:
    return render()


def test_the_tiers_start_as_rendered_answer_their_probes_and_an_inference_and_drain(tiers, tmp_path):
    with all_running(tiers, tmp_path) as (running, servers):
        assert set(running) == set(FRONT_TO_BACK)
        gateway = servers["gateway"]
        answer = gateway.client.post("/v1/models/iris:predict", json=ASKED)
        assert answer.status_code == 200, answer.text
        assert_it_drains(running["gateway"], gateway)
        for role in FRONT_TO_BACK[1:]:
            assert leaves(servers[role], running[role].stop_s) == 0, servers[role].log


def test_the_one_deployment_of_the_fused_mode_does_the_same(tmp_path):
    with all_running(render(values={"mode": "fused"}), tmp_path) as (running, servers):
        assert set(running) == {"all"}
        answer = servers["all"].client.post("/v1/models/iris:predict", json=ASKED)
        assert answer.status_code == 200, answer.text
        assert_it_drains(running["all"], servers["all"])


KEY = "of-the-shop"
ISSUED = Issuer()
GUARDED = {
    "pre": {"enabled": False},
    "post": {"enabled": False},
    "security": {
        "apiKeys": {"secret": "keys"},
        "jwt": {"jwksSecret": "jwks", "issuer": ISSUER, "audience": AUDIENCE},
        "tls": {"enabled": True, "secret": "front", "clientCa": True},
        "tierTls": {"enabled": True, "secret": "tiers"},
    },
}


def guards(folder: Path) -> tuple[Secrets, Authority]:
    """The secrets that `GUARDED` names, and who has signed the certificates in them."""
    folder.mkdir()
    authority = Authority(folder)

    def certificate(name: str) -> Mapping[str, bytes]:
        pair = authority.pair(name)
        files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.ca}
        return {key: file.read_bytes() for key, file in files.items()}

    key = {"name": "shop", "sha256": sha256(KEY.encode()).hexdigest(), "rights": ["inference"]}
    return {
        "front": certificate("front"),
        "tiers": certificate("tiers"),
        "keys": {"keys.json": json.dumps([key]).encode()},
        "jwks": {"jwks.json": key_set(ISSUED.public())},
    }, authority


def test_tiers_with_certificates_keys_and_tokens_start_as_rendered_and_let_in_whom_they_should(tmp_path):
    """Nothing is on a command line but names of files; the way to the predict tier has certificates, too."""
    secrets, authority = guards(tmp_path / "signed")
    with all_running(render(values=GUARDED), tmp_path, secrets) as (running, servers):
        gateway = servers["gateway"]
        trusting = ssl.create_default_context(cafile=authority.ca)
        with httpx.Client(verify=trusting, timeout=30) as stranger:
            with pytest.raises(httpx.TransportError):
                stranger.get(f"https://{gateway.http}/v2/health/live")
            assert stranger.get(f"https://{gateway.metrics}/metrics").status_code == 200
        shown = ssl.create_default_context(cafile=authority.ca)
        shown.load_cert_chain(*authority.pair("client"))
        infer, load = "/v1/models/iris:predict", "/v2/repository/models/iris/load"
        with httpx.Client(base_url=f"https://{gateway.http}", verify=shown, timeout=30) as client:
            assert client.post(infer, json=ASKED).status_code == 401
            client.headers["authorization"] = f"Bearer {KEY}"
            assert client.post(infer, json=ASKED).status_code == 200
            assert client.post(load).status_code == 403
            client.headers["authorization"] = f"Bearer {ISSUED.token(now=time()).decode()}"
            assert client.post(infer, json=ASKED).status_code == 200
        for role, each in running.items():
            assert leaves(servers[role], each.stop_s) == 0, servers[role].log


def test_tiers_hear_that_they_are_to_go_from_the_front_to_the_back(tiers, tmp_path):
    """Each only when the one before it has had its time: gateways before the pre tier, and so on."""
    running = pods(tiers, tmp_path)
    told = [
        each.spec["terminationGracePeriodSeconds"] - each.stop_s
        for each in (running[role] for role in FRONT_TO_BACK)
    ]
    assert told == sorted(set(told))
    for each in running.values():
        words = dict(word.partition("=")[::2] for word in each.declared.words)
        longest = float(words["--drain-grace-secs"]) + float(words["--exit-timeout-secs"])
        assert each.stop_s > longest


def test_every_address_that_a_container_is_told_of_is_one_of_the_release(tiers, tmp_path):
    running = pods(tiers, tmp_path)
    known = addresses(tiers, running)
    for each in running.values():
        for word in each.here(known).words:
            assert "svc" not in word
            assert "dns:///" not in word


def test_ports_that_a_container_declares_are_those_it_listens_on(tiers, tmp_path):
    for each in pods(tiers, tmp_path).values():
        for port in each.container["ports"]:
            assert port["containerPort"] == each.declared.port(port["name"])
