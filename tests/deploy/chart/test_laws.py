"""What holds of every render, whatever is chosen: of the values files, and of each pair of choices.

Who may reach what is in test_closed.py.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from tests.deploy.chart.cluster import behind, pods, selects, told_of
from tests.deploy.chart.processes import deployments, has_tls, settings_from, settings_of
from tests.deploy.chart.render import Object, arguments, component, of_kind, server
from tests.deploy.chart.schemas import NEWEST, OLDEST, faults

SECRETS_GIVEN = {"aws", "gcp", "git", "keys", "key", "jwks", "front", "tiers", "more", "pull"} | {
    "tercet-api-keys",
    "tercet-test-key",
}
"""By the matrix and the values files: the chart makes no secret itself."""


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_every_object_is_valid(objects, kubernetes):
    assert [fault for each in objects for fault in faults(each, kubernetes)] == []


def test_names_are_unique_and_short_enough(objects):
    names = Counter((each["kind"], each["metadata"]["name"]) for each in objects)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(len(name) <= 63 for _, name in names)


def test_everything_is_in_the_releases_namespace(objects):
    assert {each["metadata"].get("namespace") for each in objects} <= {
        "models",
        None if of_kind(objects, "ClusterServingRuntime") else "models",
    }


def test_every_option_is_one_that_serve_has_and_every_value_one_that_it_takes(objects):
    for role, deployment in deployments(objects).items():
        assert server(deployment)["command"] == ["tercet", "serve"]
        assert settings_of(deployment).role == role


def test_a_serving_runtime_opens_the_ports_that_kserve_expects(objects):
    for runtime in of_kind(objects, "ClusterServingRuntime").values():
        (container,) = runtime["spec"]["containers"]
        assert container["command"] == ["tercet", "serve"]
        settings = settings_from(tuple(container["args"]))
        assert (settings.role, settings.http_port, settings.grpc_port) == ("all", 8080, 9000)
        assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(settings.metrics_port)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == settings.http_port


def test_a_deployment_selects_its_own_pods_and_no_others(objects):
    for deployment in of_kind(objects, "Deployment").values():
        selector = deployment["spec"]["selector"]
        chosen = [pod.role for pod in pods(objects) if selects(selector, pod.labels)]
        assert chosen == [component(deployment)]


def test_every_service_has_pods_that_listen_on_its_ports(objects):
    for name, service in of_kind(objects, "Service").items():
        selected = behind(service, objects)
        assert selected, f"nobody is behind the Service {name}"
        for pod in selected:
            for port in service["spec"]["ports"]:
                assert port["targetPort"] in pod.ports, (
                    f"{pod.role} has no port {port['targetPort']} for {name}"
                )


def test_the_ports_of_a_container_are_those_that_its_process_opens(objects):
    for deployment in deployments(objects).values():
        settings = settings_of(deployment)
        opened = {"grpc": settings.grpc_port, "metrics": settings.metrics_port}
        if settings.allow_http:
            opened["http"] = settings.http_port
        assert {port["name"]: port["containerPort"] for port in server(deployment)["ports"]} == opened


def test_every_address_that_a_process_is_told_is_a_service_before_that_tier(objects):
    services = of_kind(objects, "Service")
    for pod in pods(objects):
        for address in told_of(pod):
            host, port = address.removeprefix("dns:///").split(":")
            name, namespace, kind = host.split(".")
            assert (namespace, kind) == ("models", "svc")
            spec = services[name]["spec"]
            assert spec["clusterIP"] == "None", "a name with one address would hide the processes behind it"
            assert spec["publishNotReadyAddresses"]
            assert int(port) in [each["port"] for each in spec["ports"]]
            assert len({pod.role for pod in behind(services[name], objects)}) == 1


def test_every_mount_has_its_volume_and_every_volume_its_source(objects):
    claims, maps = of_kind(objects, "PersistentVolumeClaim"), of_kind(objects, "ConfigMap")
    made = {each["spec"]["secretName"] for each in of_kind(objects, "Certificate").values()}
    for pod in pods(objects):
        volumes = {each["name"]: each for each in pod.spec["volumes"]}
        mounted = [mount for each in pod.containers for mount in each["volumeMounts"]]
        assert {each["name"] for each in mounted} == volumes.keys()
        for container in pod.containers:
            paths = Counter(each["mountPath"] for each in container["volumeMounts"])
            assert max(paths.values()) == 1
        for volume in volumes.values():
            if "configMap" in volume:
                keys = {**maps[volume["configMap"]["name"]]["binaryData"]}
                assert keys.keys() == {each["key"] for each in volume["configMap"]["items"]}
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in {*claims, "models"}
            if "secret" in volume:
                assert volume["secret"]["secretName"] in SECRETS_GIVEN | made


def test_every_file_that_a_process_is_told_of_is_mounted(objects):
    for deployment in deployments(objects).values():
        mounts = {each["mountPath"]: each for each in server(deployment)["volumeMounts"]}
        for word in arguments(deployment):
            path = word.partition("=")[2]
            if path.startswith("/"):
                place = max(
                    (each for each in mounts if path == each or path.startswith(each + "/")), default=""
                )
                assert place, f"{word} is nowhere"
                written = word.startswith(("--state-dir", "--model-cache-dir"))
                assert written != mounts[place].get("readOnly", False)


def test_three_probes_ask_three_things_at_the_metrics_port(objects):
    for role, deployment in deployments(objects).items():
        container = server(deployment)
        probes = {which: container[f"{which}Probe"] for which in ("startup", "liveness", "readiness")}
        asked = {which: probe["httpGet"]["path"].rpartition("/")[2] for which, probe in probes.items()}
        started = "live" if role == "gateway" else "started"
        assert asked == {"startup": started, "liveness": "live", "readiness": "ready"}
        assert {probe["httpGet"]["port"] for probe in probes.values()} == {"metrics"}
        speaks = "HTTPS" if has_tls(deployment) else "HTTP"
        assert {probe["httpGet"].get("scheme", "HTTP") for probe in probes.values()} == {speaks}
        startup = probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"]
        assert deployment["spec"]["progressDeadlineSeconds"] > startup


def test_who_speaks_tls_is_scraped_by_tls(objects):
    speaking = {role for role, deployment in deployments(objects).items() if has_tls(deployment)}
    monitors = [
        *(each["spec"]["podMetricsEndpoints"] for each in of_kind(objects, "PodMonitor").values()),
        *(each["spec"]["endpoints"] for each in of_kind(objects, "ServiceMonitor").values()),
    ]
    for (endpoint,) in monitors:
        by_scheme = [each for each in endpoint["relabelings"] if each["targetLabel"] == "__scheme__"]
        assert {each["regex"] for each in by_scheme} == speaking
        assert ("tlsConfig" in endpoint) == bool(speaking)
    for role, deployment in deployments(objects).items():
        annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
        if "prometheus.io/scheme" in annotations:
            assert annotations["prometheus.io/scheme"] == ("https" if role in speaking else "http")


def wait_of(deployment: Object) -> int:
    """Seconds before its process hears of its end."""
    hook = server(deployment).get("lifecycle", {}).get("preStop", {})
    return int(hook.get("sleep", {}).get("seconds", 0))


def test_who_stands_in_front_goes_first(objects):
    """A tier hears of its end when the gateways take nothing new any more, and after the tier before it."""
    by_role = deployments(objects)
    order = [role for role in ("pre", "predict", "post") if role in by_role]
    waits = [wait_of(by_role[role]) for role in order]
    assert waits == sorted(set(waits))
    for role in ("gateway", "all"):
        if role in by_role:
            assert wait_of(by_role[role]) == 0
    if order:
        assert waits[0] > settings_of(by_role["gateway"]).drain_grace_secs


def test_nobody_is_killed_who_drains_in_time(objects):
    for deployment in deployments(objects).values():
        settings = settings_of(deployment)
        needed = wait_of(deployment) + settings.drain_grace_secs + 2 * settings.exit_timeout_secs
        patience = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert needed < patience <= needed + 10
        assert patience == math.floor(patience)


def test_a_front_serves_on_while_the_word_spreads_that_it_goes(objects):
    for role, deployment in deployments(objects).items():
        if role in ("gateway", "all"):
            assert settings_of(deployment).drain_grace_secs >= 5


def scaled(objects: list[Object]) -> Iterator[tuple[Mapping[str, str], int, int]]:
    for each in of_kind(objects, "HorizontalPodAutoscaler").values():
        yield each["spec"]["scaleTargetRef"], each["spec"]["minReplicas"], each["spec"]["maxReplicas"]
    for each in of_kind(objects, "ScaledObject").values():
        yield each["spec"]["scaleTargetRef"], each["spec"]["minReplicaCount"], each["spec"]["maxReplicaCount"]


def test_what_is_scaled_exists_and_says_no_number_of_its_own(objects):
    all_of_them = of_kind(objects, "Deployment")
    targets = set()
    for target, least, most in scaled(objects):
        assert target["kind"] == "Deployment"
        targets.add(target["name"])
        assert 1 <= least <= most
    assert targets <= all_of_them.keys()
    assert {name for name, each in all_of_them.items() if "replicas" not in each["spec"]} == targets


def test_budgets_and_spread_are_about_the_pods_of_their_own_tier(objects):
    for budget in of_kind(objects, "PodDisruptionBudget").values():
        chosen = [pod.role for pod in pods(objects) if selects(budget["spec"]["selector"], pod.labels)]
        assert chosen == [component(budget)]
    for pod in pods(objects):
        for spread in pod.spec.get("topologySpreadConstraints", ()):
            chosen = [each.role for each in pods(objects) if selects(spread["labelSelector"], each.labels)]
            assert chosen == [pod.role]


def test_every_process_is_scraped_once_by_whichever_monitor(objects):
    serving = [pod for pod in pods(objects) if pod.role != "test"]
    for monitor in of_kind(objects, "PodMonitor").values():
        assert [pod for pod in pods(objects) if selects(monitor["spec"]["selector"], pod.labels)] == serving
        assert [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    for monitor in of_kind(objects, "ServiceMonitor").values():
        services = [
            each
            for each in of_kind(objects, "Service").values()
            if selects(monitor["spec"]["selector"], each["metadata"]["labels"])
        ]
        assert len(services) == 1
        assert behind(services[0], objects) == serving
        assert [each["port"] for each in monitor["spec"]["endpoints"]] == ["metrics"]


def test_every_way_in_leads_to_a_port_of_the_front(objects):
    ports = {
        (name, port[what])
        for name, service in of_kind(objects, "Service").items()
        for port in service["spec"]["ports"]
        for what in ("name", "port")
    }
    for ingress in of_kind(objects, "Ingress").values():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                assert (service["name"], service["port"]["name"]) in ports
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in of_kind(objects, kind).values():
            for rule in route["spec"]["rules"]:
                assert all((each["name"], each["port"]) in ports for each in rule["backendRefs"])
