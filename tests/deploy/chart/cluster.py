"""What Kubernetes makes of rendered objects: which Pods there are, who selects them, who may talk to whom."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.chart.render import Object, component, of_kind


@dataclass(frozen=True)
class Pod:
    """One Pod of those that a Deployment makes, or a hook's.

    role   app.kubernetes.io/component of its labels
    """

    role: str
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """All of them: those that prepare, and those that go along, too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Of all containers, by their names."""
        return {
            port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", ())
        }


def pods(objects: Sequence[Object]) -> list[Pod]:
    """One for each Deployment, and those that stand by themselves."""
    found = []
    for each in objects:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            found.append(Pod(component(template), template["metadata"]["labels"], template["spec"]))
        elif each["kind"] == "Pod":
            found.append(Pod(component(each), each["metadata"]["labels"], each["spec"]))
    return found


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A selector of labels, with matchLabels and matchExpressions of `In`."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
    )


def behind(service: Object, objects: Sequence[Object]) -> list[Pod]:
    """The Pods of a Service, but for hooks, which come and go."""
    selector = {"matchLabels": service["spec"]["selector"]}
    return [pod for pod in pods(objects) if selects(selector, pod.labels) and pod.role != "test"]


def may_talk(objects: Sequence[Object], source: Pod, target: Pod, port: str) -> bool:
    """Whether the policies let a connection pass from one Pod to a port of another, in one namespace."""
    policies = list(of_kind(objects, "NetworkPolicy").values())
    leaving = _rules(policies, source, "Egress")
    arriving = _rules(policies, target, "Ingress")
    return _passes(leaving, "to", target, port) and _passes(arriving, "from", source, port)


def _rules(policies: Sequence[Object], pod: Pod, way: str) -> list[Object] | None:
    """The rules of the policies that hold for a Pod; None where there is no policy, so that all may pass."""
    holding = [
        each["spec"]
        for each in policies
        if way in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], pod.labels)
    ]
    return [rule for spec in holding for rule in spec.get(way.lower(), ())] if holding else None


def _passes(rules: Sequence[Object] | None, side: str, other: Pod, port: str) -> bool:
    """A port is told by its name, or by its number. Peers of other namespaces are not `other`."""
    if rules is None:
        return True
    return any(
        _has_port(rule, other if side == "to" else None, port)
        and (side not in rule or any(_is_peer(peer, other) for peer in rule[side]))
        for rule in rules
    )


def _has_port(rule: Object, target: Pod | None, port: str) -> bool:
    listed = [each["port"] for each in rule.get("ports", ())]
    return not listed or port in listed or (target is not None and target.ports.get(port) in listed)


def _is_peer(peer: Object, pod: Pod) -> bool:
    return (
        "namespaceSelector" not in peer and "podSelector" in peer and selects(peer["podSelector"], pod.labels)
    )


def told_of(pod: Pod) -> Iterator[str]:
    """The addresses of other tiers of this release behind the options of a process."""
    for container in pod.containers:
        for word in container.get("args", ()):
            option, _, value = word.partition("=")
            if option in ("--pre-endpoints", "--predict-endpoints", "--post-endpoints"):
                yield from (address for address in value.split(",") if address.startswith("dns:///"))
