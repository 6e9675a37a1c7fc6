"""What an expression asks of the metrics that there are: their names, and at each place the labels. Pure."""

from collections.abc import Mapping

import promql_parser as promql

TARGET_LABELS = frozenset({"namespace", "job", "instance"})
"""Prometheus puts them on whatever it scrapes; the first where it finds its targets by Kubernetes."""

FLEET_LABELS = frozenset({"role", "process"})
"""`tercet up` puts them on whatever its processes show."""

Known = Mapping[str, frozenset[str]]
"""Metric -> the labels that some sample of it has."""


class Unfounded(AssertionError):
    """The expression asks for what is not there."""


def labels_of(expr: str, known: Known) -> frozenset[str]:
    """The labels of the answer. Raises `Unfounded` for a metric or a label that is not there."""
    found = _labels(promql.parse(expr), known)
    return frozenset() if found is None else found


def metrics_of(expr: str) -> set[str]:
    """The names of all metrics that it asks for."""
    names: set[str] = set()

    def note(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            names.add(node.name)
        return True

    _walk(promql.parse(expr), note)
    return names


def _walk(node: object, visit) -> None:
    visit(node)
    for inner in _inner(node):
        _walk(inner, visit)


def _inner(node: object) -> list[object]:
    match node:
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.Call():
            return list(node.args)
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.AggregateExpr() | promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            return [node.expr]
        case _:
            return []


def _labels(node: object, known: Known) -> frozenset[str] | None:
    """None for a plain number, which goes with anything."""
    match node:
        case promql.VectorSelector():
            return _selected(node, known)
        case promql.AggregateExpr():
            return _aggregated(node, known)
        case promql.BinaryExpr():
            return _joined(node, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.Call():
            inner = [labels for each in node.args if (labels := _labels(each, known)) is not None]
            if not inner:
                return frozenset() if node.func.name == "vector" else None
            return inner[-1] - {"le"} if node.func.name == "histogram_quantile" else inner[-1]
        case _:
            (only,) = _inner(node)
            return _labels(only, known)


def _selected(node: promql.VectorSelector, known: Known) -> frozenset[str]:
    if node.name not in known:
        raise Unfounded(f"there is no metric {node.name}")
    labels = known[node.name] | TARGET_LABELS | FLEET_LABELS
    for matcher in node.matchers.matchers:
        if matcher.name not in labels:
            raise Unfounded(f"{node.name} has no label {matcher.name}")
    return labels


def _aggregated(node: promql.AggregateExpr, known: Known) -> frozenset[str]:
    inner = _labels(node.expr, known) or frozenset()
    if node.modifier is None:
        return frozenset() if str(node.op) not in {"topk", "bottomk"} else inner
    named = frozenset(node.modifier.labels)
    if named - inner:
        raise Unfounded(f"no label {', '.join(sorted(named - inner))} in {node.expr}")
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _joined(node: promql.BinaryExpr, known: Known) -> frozenset[str] | None:
    left, right = _labels(node.lhs, known), _labels(node.rhs, known)
    if left is None or right is None:
        return right if left is None else left
    is_set = str(node.op) in {"and", "or", "unless"}
    modifier = node.modifier
    if modifier is None or modifier.matching is None:
        if left != right and str(node.op) != "or":
            raise Unfounded(f"{node}: {sorted(left)} never meets {sorted(right)}")
        return left
    if modifier.matching.type != promql.LabelModifierType.Include:
        raise Unfounded(f"{node}: `ignoring` breaks as soon as there is another label; say `on`")
    matched = frozenset(modifier.matching.labels)
    for side, labels in ((node.lhs, left), (node.rhs, right)):
        if matched - labels:
            raise Unfounded(f"no label {', '.join(sorted(matched - labels))} in {side}")
    taken = frozenset(modifier.group_labels or ())
    if taken - right:
        raise Unfounded(f"no label {', '.join(sorted(taken - right))} in {node.rhs}")
    if is_set or modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | taken
    return matched
