"""The options of the chart against each other: so few renders that each pair of choices is in one of them."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from tests.deploy.chart.render import joined

Values = Mapping[str, Any]

SCALED = {"enabled": True, "max": 8}
PEER = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}

CHOICES: Mapping[str, Mapping[str, Values]] = {
    "mode": {
        "tiers": {},
        "fused": {"mode": "fused"},
        "kserve": {"mode": "kserve"},
        "two-tiers": {"pre": {"enabled": False}, "post": {"enabled": False}},
        "foreign": {
            "predict": {
                "enabled": False,
                "endpoints": ["oip://triton:8001", "oip://other:9000?model=a&model=b"],
            }
        },
    },
    "repository": {
        "sample": {},
        "pvc": {"repository": {"kind": "pvc", "pvc": {"claim": "models", "subPath": "production"}}},
        "s3": {
            "repository": {
                "kind": "bucket",
                "bucket": {
                    "urls": ["s3://bucket/a", "s3://bucket/b"],
                    "endpointUrl": "http://minio:9000",
                    "region": "eu-central-1",
                    "credentialsSecret": "aws",
                },
            }
        },
        "gcs": {
            "repository": {"kind": "bucket", "bucket": {"urls": ["gs://bucket"], "gcpKey": {"secret": "gcp"}}}
        },
        "git": {
            "repository": {
                "kind": "gitSync",
                "gitSync": {
                    "image": "r.example.com/git-sync:v4",
                    "url": "https://git.example.com:8443/models",
                    "credentialsSecret": "git",
                    "subPath": "m",
                },
            }
        },
    },
    "control": {"poll": {}, "explicit": {"repository": {"controlMode": "explicit"}}},
    "state": {"folder": {}, "none": {"state": {"kind": "none"}}, "claim": {"state": {"kind": "pvc"}}},
    "callers": {
        "anonymous": {},
        "keys": {"security": {"apiKeys": {"secret": "keys"}}, "test": {"keySecret": "key"}},
        "tokens": {
            "security": {
                "jwt": {"jwks": "https://id.example.com:8443/jwks", "issuer": "id", "audience": "models"},
                "anonymousRights": "none",
            }
        },
        "token-file": {
            "security": {
                "jwt": {"jwksSecret": "jwks", "issuer": "id", "audience": "models", "rightsClaim": "rights"}
            }
        },
    },
    "tls": {
        "none": {},
        "given": {"security": {"tls": {"enabled": True, "secret": "front", "clientCa": True}}},
        "made": {"security": {"tls": {"enabled": True, "issuer": {"name": "acme"}, "dnsNames": ["a.b"]}}},
    },
    "tier-tls": {
        "none": {},
        "given": {"security": {"tierTls": {"enabled": True, "secret": "tiers"}}},
        "own": {"security": {"tierTls": {"enabled": True}}},
        "issuer": {
            "security": {"tierTls": {"enabled": True, "issuer": {"name": "acme", "kind": "ClusterIssuer"}}}
        },
    },
    "network": {
        "open": {},
        "clients": {"networkPolicy": {"clients": [PEER], "egress": {"every": [{"to": [PEER]}]}}},
        "one-way": {"networkPolicy": {"egress": {"enabled": False}}},
        "none": {"networkPolicy": {"enabled": False}},
    },
    "scaling": {
        "fixed": {"every": {"replicas": 1}, "gateway": {"replicas": 1}},
        "more": {"every": {"replicas": 3}},
        "hpa": {"autoscaling": {"by": "hpa"}, "every": {"autoscaling": SCALED}},
        "keda": {
            "autoscaling": {"by": "keda", "keda": {"authentication": "prometheus"}},
            "every": {"autoscaling": {**SCALED, "cpuPercent": 80}},
        },
    },
    "monitoring": {
        "none": {},
        "annotations": {"monitoring": {"by": "annotations"}, "every": {"podAnnotations": {"a": "b"}}},
        "pods": {"monitoring": {"by": "podMonitor", "rules": True, "dashboards": True, "labels": {"a": "b"}}},
        "services": {"monitoring": {"by": "serviceMonitor", "intervalSeconds": 5}},
    },
    "way-in": {
        "inside": {},
        "balancer": {
            "service": {
                "type": "LoadBalancer",
                "headless": True,
                "httpPort": 80,
                "grpcPort": 443,
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
            },
        },
        "ingress": {
            "ingress": {
                "http": {"enabled": True, "className": "nginx", "hosts": ["a.example.com"], "tlsSecret": "a"},
                "grpc": {"enabled": True, "hosts": ["b.example.com"]},
            }
        },
        "gateway": {
            "gatewayApi": {
                "parentRefs": [{"name": "public"}],
                "http": {"enabled": True, "hostnames": ["a.example.com"]},
                "grpc": {"enabled": True},
                "backendTls": {"enabled": True},
            },
            "clients": {"balance": True},
        },
    },
    "accounts": {
        "made": {},
        "given": {"serviceAccount": {"create": False, "name": "reader"}, "test": {"enabled": False}},
        "named": {"serviceAccount": {"name": "models", "annotations": {"a": "b"}, "labels": {"c": "d"}}},
    },
    "place": {
        "anywhere": {},
        "gpus": {
            "predict": {"gpus": 1, "image": {"repository": "tercet/predict-cuda"}},
            "all": {"gpus": 2, "runtimeClassName": "nvidia"},
            "every": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"podAntiAffinity": {}},
                "priorityClassName": "high",
                "topologySpread": [],
            },
        },
        "furnished": {
            "fullnameOverride": "serving",
            "image": {"registry": "r.example.com/a", "tag": "1", "pullSecrets": ["pull"]},
            "every": {
                "env": [{"name": "A", "value": "b"}],
                "envFrom": [{"secretRef": {"name": "more"}}],
                "options": {"log-verbose": 1, "include-models": ["fraud-*", "shop-*"], "docs": False},
                "volumes": [{"name": "extra", "emptyDir": {}}],
                "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                "rollout": {"maxSurge": "25%", "maxUnavailable": 1, "minReadySeconds": 3},
                "budget": {"enabled": False},
                "podLabels": {"team": "a"},
            },
        },
    },
}
"""Option -> choice -> the values that make it."""

EXCLUDED = frozenset(
    {("state", "claim", "scaling", choice) for choice in ("more", "hpa", "keda")}
    | {("mode", "kserve", "callers", choice) for choice in ("keys", "tokens", "token-file")}
    | {("mode", "kserve", "tls", choice) for choice in ("given", "made")}
    | {
        ("mode", mode, "tier-tls", choice)
        for mode in ("kserve", "fused")
        for choice in ("given", "own", "issuer")
    }
)
"""Pairs that the chart refuses in a sentence."""

Row = tuple[str, ...]
"""A choice for each option, in the order of CHOICES."""


def rows() -> list[Row]:
    """So many that every pair which is not excluded is in one; found greedily, the same each time."""
    missing = set(_all_pairs())
    found: list[Row] = []
    while missing:
        row = _row_for(min(missing), missing)
        missing -= _pairs_of(row)
        found.append(row)
    return found


def values_of(row: Row) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for option, choice in zip(CHOICES, row, strict=True):
        merged = joined(merged, CHOICES[option][choice])
    return merged


Pair = tuple[str, str, str, str]


def _all_pairs() -> Iterator[Pair]:
    for one, other in combinations(CHOICES, 2):
        for first in CHOICES[one]:
            for second in CHOICES[other]:
                if (one, first, other, second) not in EXCLUDED:
                    yield one, first, other, second


def _pairs_of(row: Row) -> set[Pair]:
    chosen = list(zip(CHOICES, row, strict=True))
    return {(*one, *other) for one, other in combinations(chosen, 2)}


def _row_for(pair: Pair, missing: set[Pair]) -> Row:
    """With this pair in it, and of each other option the choice that meets most that is missing yet."""
    chosen = {pair[0]: pair[1], pair[2]: pair[3]}
    for option in CHOICES:
        if option not in chosen:
            allowed = [choice for choice in CHOICES[option] if not _meets(option, choice, chosen) & EXCLUDED]
            chosen[option] = max(allowed, key=lambda choice: len(_meets(option, choice, chosen) & missing))
    return tuple(chosen[option] for option in CHOICES)


def _meets(option: str, choice: str, chosen: Mapping[str, str]) -> set[Pair]:
    order = list(CHOICES)
    return {
        (option, choice, other, its)
        if order.index(option) < order.index(other)
        else (other, its, option, choice)
        for other, its in chosen.items()
    }
