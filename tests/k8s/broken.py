"""One fault for each thing that a check looks for: the check, the fault in words, and what makes it."""

# ruff: noqa: E501  # a fault a line

import copy
from collections.abc import Callable
from typing import Any

from tests.k8s.manifests import Document, containers, named


def main(documents: list[Document], kind: str = "Deployment", name: str = "ragents") -> Any:
    """The container that serves."""
    return list(containers(named(documents, kind, name)))[-1]


def pod(documents: list[Document], kind: str = "Deployment", name: str = "ragents") -> Any:
    return named(documents, kind, name)["spec"]["template"]


def settings_line(documents: list[Document], old: str, new: str) -> None:
    data = named(documents, "ConfigMap", "ragents-config")["data"]
    assert old in data["configuration.yaml"]
    data["configuration.yaml"] = data["configuration.yaml"].replace(old, new)


def redis_line(documents: list[Document], file: str, old: str, new: str) -> None:
    data = named(documents, "ConfigMap", "redis-config")["data"]
    assert old in data[file]
    data[file] = data[file].replace(old, new)


def variable(documents: list[Document], name: str) -> Any:
    return next(each for each in main(documents)["env"] if each["name"] == name)


def policy(documents: list[Document], name: str) -> Any:
    return named(documents, "NetworkPolicy", name)["spec"]


def hpa(documents: list[Document]) -> Any:
    return named(documents, "HorizontalPodAutoscaler", "ragents-hpa")["spec"]


BROKEN: list[tuple[str, str, Callable[[list[Document]], object]]] = [
    ("unique", "an object twice", lambda d: d.append(d[0])),
    ("namespaces", "another namespace", lambda d: named(d, "Service", "redis-service")["metadata"].update(namespace="default")),
    ("namespaces", "an account of another namespace", lambda d: named(d, "RoleBinding", "ragents")["subjects"][0].update(namespace="x")),
    ("selectors", "pods that are not selected", lambda d: pod(d)["metadata"]["labels"].update(app="rag")),
    ("selectors", "a Service without pods", lambda d: named(d, "Service", "ragents-service")["spec"]["selector"].update(app="x")),
    ("selectors", "a Service of two workloads", lambda d: named(d, "Service", "redis-service")["spec"].update(selector={"app.kubernetes.io/component": "redis"})),
    ("selectors", "a budget without pods", lambda d: named(d, "PodDisruptionBudget", "ragents-pdb")["spec"]["selector"]["matchLabels"].update(app="x")),
    ("selectors", "a policy without pods", lambda d: policy(d, "redis")["podSelector"]["matchLabels"].update({"app.kubernetes.io/component": "x"})),
    ("selectors", "pods spread by another's label", lambda d: pod(d)["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(app="x")),
    ("selectors", "a StatefulSet without its Service", lambda d: named(d, "StatefulSet", "postgres")["spec"].update(serviceName="x")),
    ("selectors", "a monitor without pods", lambda d: named(d, "PodMonitor", "ragents")["spec"]["selector"]["matchLabels"].update(app="x")),
    ("ports", "a Service's port that is not there", lambda d: named(d, "Service", "ragents-service")["spec"]["ports"][0].update(targetPort=8080)),
    ("ports", "a monitor's port that is not there", lambda d: named(d, "PodMonitor", "ragents")["spec"]["podMetricsEndpoints"][0].update(port="metrics")),
    ("ports", "a probe's port that is not there", lambda d: main(d)["livenessProbe"]["httpGet"].update(port="web")),
    ("ports", "an annotation's port that is not there", lambda d: pod(d)["metadata"]["annotations"].update({"prometheus.io/port": "9090"})),
    ("resources", "a request above its limit", lambda d: main(d)["resources"]["requests"].update(memory="9Gi")),
    ("resources", "no limit", lambda d: main(d)["resources"]["limits"].pop("memory")),
    ("resources", "half of a GPU's request", lambda d: main(d, "Deployment", "vllm")["resources"]["requests"].pop("nvidia.com/gpu")),
    ("scaling", "minimum above maximum", lambda d: hpa(d).update(minReplicas=21)),
    ("scaling", "a target that is not there", lambda d: hpa(d)["scaleTargetRef"].update(name="rag")),
    ("scaling", "replicas beside an HPA", lambda d: named(d, "Deployment", "ragents")["spec"].update(replicas=3)),
    ("scaling", "neither replicas nor an HPA", lambda d: named(d, "Deployment", "redis-cache")["spec"].pop("replicas")),
    ("scaling", "a share of no request", lambda d: main(d)["resources"]["requests"].pop("cpu")),
    ("scaling", "a metric that nobody makes", lambda d: hpa(d)["metrics"][0]["pods"]["metric"].update(name="requests")),
    ("scaling", "a budget that lets no node be drained", lambda d: named(d, "PodDisruptionBudget", "ragents-pdb")["spec"].update(minAvailable=3)),
    ("scaling", "pods that are not ready keep their nodes", lambda d: named(d, "PodDisruptionBudget", "ragents-pdb")["spec"].pop("unhealthyPodEvictionPolicy")),
    ("references", "a secret that is not there", lambda d: variable(d, "RAGENTS_STORE__DSN")["valueFrom"]["secretKeyRef"].update(name="x")),
    ("references", "a key that is not there", lambda d: variable(d, "RAGENTS_STORE__DSN")["valueFrom"]["secretKeyRef"].update(key="DSN")),
    ("references", "a ConfigMap's key that is not there", lambda d: named(d, "ConfigMap", "postgres-config")["data"].pop("backup.sh")),
    ("references", "an account that is not there", lambda d: pod(d)["spec"].update(serviceAccountName="x")),
    ("references", "a claim that is not there", lambda d: d.remove(named(d, "PersistentVolumeClaim", "postgres-backups"))),
    ("references", "a volume that is not there", lambda d: main(d)["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
    ("references", "a role that is not there", lambda d: d.remove(named(d, "Role", "ragents"))),
    ("network", "the state's Redis out of reach", lambda d: policy(d, "redis").update(ingress=[])),
    ("network", "Postgres out of reach", lambda d: policy(d, "ragents")["egress"].pop(1)),
    ("network", "the service out of reach", lambda d: policy(d, "ragents").update(ingress=[])),
    ("network", "no names", lambda d: d.remove(named(d, "NetworkPolicy", "ragents-dns"))),
    ("network", "no default", lambda d: [d.remove(named(d, "NetworkPolicy", name)) for name in ("ragents-default-deny", "redis")]),
    ("network", "Postgres open to everybody", lambda d: policy(d, "postgres")["ingress"][0].pop("from")),
    ("network", "mail may be sent", lambda d: policy(d, "ragents")["egress"].append({})),
    ("rights", "a token", lambda d: pod(d)["spec"].update(automountServiceAccountToken=True)),
    ("rights", "addresses of Services", lambda d: pod(d)["spec"].pop("enableServiceLinks")),
    ("rights", "root", lambda d: pod(d)["spec"]["securityContext"].update(runAsNonRoot=False)),
    ("rights", "another user than the image's", lambda d: pod(d)["spec"]["securityContext"].update(runAsUser=1000)),
    ("rights", "no seccomp", lambda d: pod(d, "StatefulSet", "redis-state")["spec"]["securityContext"].pop("seccompProfile")),
    ("rights", "a root that can be written", lambda d: main(d)["securityContext"].update(readOnlyRootFilesystem=False)),
    ("rights", "capabilities", lambda d: main(d, "StatefulSet", "postgres")["securityContext"].pop("capabilities")),
    ("rights", "nowhere to write", lambda d: main(d)["volumeMounts"].pop()),
    ("rights", "a volume without a bound", lambda d: pod(d)["spec"]["volumes"][1]["emptyDir"].pop("sizeLimit")),
    ("placing", "nodes that take no pod of ours", lambda d: pod(d)["spec"]["topologySpreadConstraints"][0].pop("nodeTaintsPolicy")),
    ("placing", "another account than the one that pulls", lambda d: pod(d, "Job", "ragents-migrate")["spec"].pop("serviceAccountName")),
    ("names", "the usual time for names", lambda d: pod(d)["spec"].pop("dnsConfig")),
    ("names", "as many tries as the usual time takes", lambda d: pod(d)["spec"]["dnsConfig"]["options"][1].update(value="5")),
    ("images", "latest", lambda d: main(d).update(image="ragents:latest")),
    ("images", "no tag", lambda d: main(d, "Deployment", "redis-cache").update(image="redis")),
    ("images", "a moving tag", lambda d: main(d, "StatefulSet", "postgres").update(image="pgvector/pgvector:pg17")),
    ("images", "another version than the code's", lambda d: main(d).update(image="ragents:0.0.9")),
    ("probes", "no readiness", lambda d: main(d).pop("readinessProbe")),
    ("probes", "a path that nobody answers", lambda d: main(d)["livenessProbe"]["httpGet"].update(path="/healthz")),
    ("probes", "liveness that asks for neighbours", lambda d: main(d)["livenessProbe"]["httpGet"].update(path="/readyz")),
    ("probes", "readiness that does not", lambda d: main(d)["readinessProbe"]["httpGet"].update(path="/livez")),
    ("probes", "four minutes to start", lambda d: main(d)["startupProbe"].update(failureThreshold=48)),
    ("probes", "a probe longer than its period", lambda d: main(d)["readinessProbe"].update(timeoutSeconds=6)),
    ("ending", "no pause before the end", lambda d: main(d).pop("lifecycle")),
    ("ending", "killed before the drain is over", lambda d: pod(d)["spec"].update(terminationGracePeriodSeconds=300)),
    ("ending", "a drain that cuts answers off", lambda d: main(d).update(args=["serve", "--timeout-graceful-shutdown", "60"])),
    ("ending", "no drain", lambda d: main(d).update(args=["serve"])),
    ("ending", "longer answers than the drain", lambda d: settings_line(d, "timeout_s: 300", "timeout_s: 600")),
    ("ending", "pods that go before others come", lambda d: named(d, "Deployment", "ragents")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1)),
    ("settings", "a variable that is no setting", lambda d: main(d)["env"].append({"name": "RAGENTS_SERVING__WORKER", "value": "4"})),
    ("settings", "a value of the wrong type", lambda d: main(d)["env"].append({"name": "RAGENTS_SERVING__WORKERS", "value": "many"})),
    ("settings", "a line that is no setting", lambda d: settings_line(d, "pool_size", "pool_sise")),
    ("settings", "a file that is not mounted", lambda d: variable(d, "RAGENTS_CONFIG").update(value="/etc/ragents.yaml")),
    ("settings", "no DSN", lambda d: main(d)["env"].remove(variable(d, "RAGENTS_STORE__DSN"))),
    ("settings", "the owner's DSN in the pods that serve", lambda d: main(d)["env"].append(copy.deepcopy(variable(d, "RAGENTS_STORE__DSN")) | {"name": "RAGENTS_STORE__MIGRATE_DSN"})),
    ("published", "another port", lambda d: named(d, "Service", "ragents-service")["spec"]["ports"][0].update(port=8080)),
    ("published", "loopback", lambda d: settings_line(d, "host: 0.0.0.0", "host: 127.0.0.1")),
    ("published", "a name that is gone", lambda d: named(d, "Service", "redis-state-service")["metadata"].update(name="state")),
    ("capacity", "more connections than Postgres has", lambda d: settings_line(d, "pool_size: 5", "pool_size: 10")),
    ("capacity", "more workers than cores", lambda d: settings_line(d, "workers: 2", "workers: 8")),
    ("capacity", "more threads than CPUs", lambda d: settings_line(d, "threads: 2", "threads: 4")),
    ("capacity", "threads without a bound", lambda d: settings_line(d, "threads: 2", "threads: 0")),
    ("capacity", "shares for another number of pods", lambda d: settings_line(d, "replicas: 3", "replicas: 1")),
    ("capacity", "a cache larger than its Redis", lambda d: settings_line(d, "mb: 800", "mb: 2000")),
    ("capacity", "state that is evicted", lambda d: redis_line(d, "state.conf", "noeviction", "allkeys-lru")),
    ("capacity", "state that is not written", lambda d: redis_line(d, "state.conf", "appendonly yes", "appendonly no")),
    ("capacity", "a cache that does not forget", lambda d: redis_line(d, "cache.conf", "allkeys-lru", "noeviction")),
    ("capacity", "a Redis beyond its limit", lambda d: redis_line(d, "state.conf", "maxmemory 1gb", "maxmemory 2gb")),
    ("capacity", "limits counted in the cache", lambda d: variable(d, "RAGENTS_RATE_LIMIT__REDIS_URL")["valueFrom"]["secretKeyRef"].update(key="RAGENTS_CACHE__REDIS_URL")),
    ("capacity", "a Postgres beyond its limit", lambda d: main(d, "StatefulSet", "postgres")["args"].append("-cshared_buffers=4GB")),
]  # fmt: skip
