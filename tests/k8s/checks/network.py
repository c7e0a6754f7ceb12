"""What the network policies let through, by the rules of networking.k8s.io/v1: a pod that any policy selects for a
direction is closed in it but for what a policy opens; a connection needs both ends open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.k8s.checks.structure import NAMESPACE, selects
from tests.k8s.manifests import WORKLOADS, Document, of_kind, pod_template

OUTSIDE = "outside"
DNS = "kube-dns"
PROMETHEUS = "prometheus"

NEEDED = (
    (OUTSIDE, "ragents", 3000),
    (PROMETHEUS, "ragents", 3000),
    ("ragents", "redis-cache", 6379),
    ("ragents", "redis-state", 6379),
    ("ragents", "postgres", 5432),
    ("ragents", "vllm", 8000),
    ("ragents", OUTSIDE, 443),
    ("ragents", OUTSIDE, 5432),
    ("ragents", OUTSIDE, 4318),
    ("ragents", DNS, 53),
    ("ragents-migrate", "postgres", 5432),
    ("ragents-migrate", DNS, 53),
    ("postgres-backup", "postgres", 5432),
    ("postgres-backup", DNS, 53),
    ("vllm", OUTSIDE, 443),
    (PROMETHEUS, "vllm", 8000),
)
FORBIDDEN = (
    (OUTSIDE, "redis-cache", 6379),
    (OUTSIDE, "redis-state", 6379),
    (OUTSIDE, "postgres", 5432),
    (OUTSIDE, "vllm", 8000),
    (OUTSIDE, "ragents", 22),
    (OUTSIDE, "ragents-migrate", 3000),
    (PROMETHEUS, "redis-state", 6379),
    ("redis-cache", "redis-state", 6379),
    ("redis-cache", "postgres", 5432),
    ("redis-state", OUTSIDE, 443),
    ("postgres", OUTSIDE, 443),
    ("postgres", "redis-state", 6379),
    ("vllm", "postgres", 5432),
    ("vllm", "redis-state", 6379),
    ("postgres-backup", "redis-state", 6379),
    ("postgres-backup", OUTSIDE, 443),
    ("ragents", OUTSIDE, 25),
)


@dataclass(frozen=True)
class End:
    """One end of a connection; `labels` None: no pod at all, an address."""

    namespace: str
    labels: dict[str, str] | None


def network(documents: list[Document]) -> Iterator[str]:
    ends = {OUTSIDE: End("", None), DNS: End("kube-system", {"k8s-app": "kube-dns"})}
    ends[PROMETHEUS] = End("monitoring", {"app.kubernetes.io/name": "prometheus"})
    for each in of_kind(documents, *WORKLOADS):
        template: Any = pod_template(each)
        labels = template["metadata"]["labels"]
        ends[labels["app"]] = End(NAMESPACE, labels)
    policies = of_kind(documents, "NetworkPolicy")
    for wanted, pairs in ((True, NEEDED), (False, FORBIDDEN)):
        for source, target, port in pairs:
            if source in ends and target in ends and allowed(policies, ends[source], ends[target], port) != wanted:
                yield f"{source} -> {target}:{port} is {'closed' if wanted else 'open'}"


def allowed(policies: list[Document], source: End, target: End, port: int) -> bool:
    return _open(policies, "Egress", source, target, port) and _open(policies, "Ingress", target, source, port)


def _open(policies: list[Document], direction: str, pod: End, peer: End, port: int) -> bool:
    if pod.namespace != NAMESPACE or pod.labels is None:
        return True  # what others are bound by is not ours to say
    here = [
        each["spec"]
        for each in policies
        if direction in each["spec"]["policyTypes"] and selects(each["spec"]["podSelector"], pod.labels)
    ]
    if not here:
        return True
    rules = [rule for spec in here for rule in spec.get(direction.lower(), [])]
    return any(_rule_allows(rule, "to" if direction == "Egress" else "from", peer, port) for rule in rules)


def _rule_allows(rule: Document, side: str, peer: End, port: int) -> bool:
    if rule.get("ports") and port not in [each["port"] for each in rule["ports"]]:
        return False
    peers = rule.get(side)
    return not peers or any(_is_peer(each, peer) for each in peers)


def _is_peer(rule: Document, peer: End) -> bool:
    if unknown := set(rule) - {"podSelector", "namespaceSelector"}:
        raise NotImplementedError(", ".join(unknown))
    if peer.labels is None:
        return False
    if "namespaceSelector" not in rule:
        return peer.namespace == NAMESPACE and selects(rule["podSelector"], peer.labels)
    namespace = {"kubernetes.io/metadata.name": peer.namespace}
    return selects(rule["namespaceSelector"], namespace) and selects(rule.get("podSelector", {}), peer.labels)
