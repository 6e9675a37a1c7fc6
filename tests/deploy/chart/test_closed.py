"""Who may reach what, in every render: between Pods, from outside, on the node, in the cluster."""

from urllib.parse import urlsplit

from tests.deploy.chart.cluster import behind, may_talk, pods, told_of
from tests.deploy.chart.processes import deployments
from tests.deploy.chart.render import arguments, component, of_kind, server


def test_policies_let_through_exactly_those_who_are_told_of_each_other(objects):
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        return
    services = of_kind(objects, "Service")
    asked = {
        (pod.role, behind(services[address.removeprefix("dns:///").split(".")[0]], objects)[0].role, "grpc")
        for pod in pods(objects)
        for address in told_of(pod)
    }
    front = next(role for role in ("gateway", "all") if role in deployments(objects))
    all_pods = [pod for pod in pods(objects) if pod.role != "test"]
    for source in pods(objects):
        for target in all_pods:
            for port in target.ports:
                passes = may_talk(objects, source, target, port)
                expected = (source.role, target.role, port) in asked
                if source.role == "test" and target.role == front:
                    expected = port in ("http", "grpc")
                if target.role == front and source.role != "test":
                    continue  # whoever may be a client; a tier is no more than anybody else
                assert passes == expected, f"{source.role} to {port} of {target.role}"


def test_the_front_is_open_to_clients_on_its_doors_and_to_nobody_else_on_its_metrics(objects):
    for policy in of_kind(objects, "NetworkPolicy").values():
        for rule in policy["spec"]["ingress"]:
            ports = {port["port"] for port in rule["ports"]}
            assert ports in ({"http", "grpc"}, {"grpc"}, {"metrics"})
            if ports == {"metrics"}:
                assert rule["from"]
            if ports == {"grpc"} or component(policy) not in ("gateway", "all"):
                assert rule["from"], "a rule without peers is open to everybody"


def test_servers_beyond_the_release_that_a_process_is_told_of_are_within_its_reach(objects):
    for policy in of_kind(objects, "NetworkPolicy").values():
        if "Egress" not in policy["spec"]["policyTypes"]:
            continue
        deployment = deployments(objects)[component(policy)]
        variables = {each["name"]: each.get("value", "") for each in server(deployment).get("env", ())}
        beside = deployment["spec"]["template"]["spec"].get("initContainers", ())
        words = [
            *arguments(deployment),
            f"={variables.get('AWS_ENDPOINT_URL', '')}",
            *(word for each in beside for word in each["args"]),
        ]
        reached = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", ())}
        values = [word.partition("=")[2] for word in words]
        needed = {
            url.port or (80 if url.scheme == "http" else 443)
            for value in values
            for each in value.split(",")
            if (url := urlsplit(each)).scheme in ("oip", "http", "https", "s3", "gs")
        }
        assert needed <= reached
        assert 53 in reached


def test_nobody_has_more_rights_on_the_node_than_it_needs(objects):
    for pod in pods(objects):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "/tmp" in {each["mountPath"] for each in container["volumeMounts"]}
            assert container["resources"].get("requests")
            assert "memory" in container["resources"]["limits"]


def test_control_is_closed_unless_a_key_or_a_token_opens_it(objects):
    for pod in pods(objects):
        for container in pod.containers:
            if container.get("command") == ["tercet", "serve"]:
                rights = [each for each in container["args"] if each.startswith("--anonymous-rights=")]
                assert len(rights) == 1
                assert "control" not in rights[0]


def test_the_environment_has_no_variable_of_kubernetes_making(objects):
    assert all(pod.spec["enableServiceLinks"] is False for pod in pods(objects))


def test_accounts_are_there_and_only_readers_of_the_repository_have_the_one_with_rights(objects):
    made = of_kind(objects, "ServiceAccount")
    by_role = {
        role: each["spec"]["template"]["spec"]["serviceAccountName"]
        for role, each in deployments(objects).items()
    }
    assert not made or set(by_role.values()) <= made.keys()
    if "gateway" in by_role:
        assert by_role["gateway"] not in [name for role, name in by_role.items() if role != "gateway"]


def test_certificates_are_signed_by_somebody_and_tiers_are_named_in_theirs(objects):
    issuers = of_kind(objects, "Issuer")
    for certificate in of_kind(objects, "Certificate").values():
        reference = certificate["spec"]["issuerRef"]
        assert reference["name"] in {*issuers, "acme"}
        if "client auth" in certificate["spec"].get("usages", ()):
            names = certificate["spec"]["dnsNames"]
            hosts = {
                address.split("/")[-1].split(":")[0] for pod in pods(objects) for address in told_of(pod)
            }
            assert hosts <= set(names)
