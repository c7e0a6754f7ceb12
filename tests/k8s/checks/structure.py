"""Objects that must fit together: selectors, ports, references, sizes. Each check gives what is wrong, in words."""

from collections.abc import Iterator
from typing import Any

from tests.k8s.manifests import WORKLOADS, Document, containers, example_secrets, load, of_kind, pod_template, quantity

CLUSTER_SCOPED = ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")
NAMESPACE = "production"


def name_of(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """A label selector; an empty one selects everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        present = labels.get(rule["key"]) in rule.get("values", [])
        if {"In": not present, "NotIn": present}[rule["operator"]]:
            return False
    return True


def workloads_selected(documents: list[Document], selector: Document) -> list[Document]:
    return [
        each
        for each in of_kind(documents, *WORKLOADS)
        if (template := pod_template(each)) is not None and selects(selector, template["metadata"]["labels"])
    ]


def unique(documents: list[Document]) -> Iterator[str]:
    seen = [name_of(each) for each in documents]
    yield from (f"{each} is there twice" for each in sorted({name for name in seen if seen.count(name) > 1}))


def namespaces(documents: list[Document]) -> Iterator[str]:
    for each in documents:
        if each["kind"] in CLUSTER_SCOPED:
            continue
        if (found := each["metadata"].get("namespace")) != NAMESPACE:
            yield f"{name_of(each)} is in namespace {found!r} instead of {NAMESPACE}"
        for subject in each.get("subjects", []):
            if subject.get("namespace") != NAMESPACE:
                yield f"{name_of(each)} binds an account of {subject.get('namespace')!r}"


def selectors(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, "Deployment", "StatefulSet"):
        template = each["spec"]["template"]
        if not selects(each["spec"]["selector"], template["metadata"]["labels"]):
            yield f"{name_of(each)} does not select its own pods"
        for spread in template["spec"].get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], template["metadata"]["labels"]):
                yield f"{name_of(each)} spreads other pods than its own"
    for each in of_kind(documents, "StatefulSet"):
        services = [one["metadata"]["name"] for one in of_kind(documents, "Service")]
        if each["spec"]["serviceName"] not in services:
            yield f"{name_of(each)} names a Service that is not there: {each['spec']['serviceName']}"
    for each in of_kind(documents, "Service"):
        found = workloads_selected(documents, {"matchLabels": each["spec"]["selector"]})
        if len(found) != 1:
            yield f"{name_of(each)} selects the pods of {len(found)} workloads"
    for each in of_kind(documents, "PodDisruptionBudget", "PodMonitor"):
        if not workloads_selected(documents, each["spec"]["selector"]):
            yield f"{name_of(each)} selects nothing"
    for each in of_kind(documents, "NetworkPolicy"):
        if not workloads_selected(documents, each["spec"]["podSelector"]):
            yield f"{name_of(each)} selects nothing"


def ports(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, "Service"):
        for workload in workloads_selected(documents, {"matchLabels": each["spec"]["selector"]}):
            for port in each["spec"]["ports"]:
                if not _has_port(workload, port.get("targetPort", port["port"])):
                    yield f"{name_of(each)}: no container of {name_of(workload)} has port {port.get('targetPort')!r}"
    for each in of_kind(documents, "PodMonitor"):
        for workload in workloads_selected(documents, each["spec"]["selector"]):
            for endpoint in each["spec"]["podMetricsEndpoints"]:
                if not _has_port(workload, endpoint["port"]):
                    yield f"{name_of(each)}: no container of {name_of(workload)} has port {endpoint['port']!r}"
    for each in of_kind(documents, *WORKLOADS):
        template = pod_template(each) or {}
        annotated = template["metadata"].get("annotations", {}).get("prometheus.io/port")
        if annotated is not None and not _has_port(each, int(annotated)):
            yield f"{name_of(each)}: prometheus.io/port {annotated} is no port of it"
        for container in containers(each):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for handler in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(handler, {}).get("port")
                    if port is not None and not _has_port(each, port):
                        yield f"{name_of(each)}: {probe} asks port {port!r}, which is not there"


def _has_port(workload: Document, port: str | int) -> bool:
    return any(
        port in (each.get("name"), each["containerPort"])
        for container in containers(workload)
        for each in container.get("ports", [])
    )


def resources(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, *WORKLOADS):
        for container in containers(each):
            asked = container.get("resources", {}).get("requests", {})
            most = container.get("resources", {}).get("limits", {})
            for name in ("cpu", "memory"):
                if name not in asked or name not in most:
                    yield f"{name_of(each)}: container {container['name']} lacks a request or a limit of {name}"
            for name, value in asked.items():
                if name in most and quantity(value) > quantity(most[name]):
                    yield f"{name_of(each)}: container {container['name']} requests more {name} than its limit"
            if asked.get("nvidia.com/gpu") != most.get("nvidia.com/gpu"):
                yield f"{name_of(each)}: a GPU's request must be its limit"


def scaling(documents: list[Document]) -> Iterator[str]:
    rules = [each for each in (documents, load("monitoring.yaml")) if named_rules(each)]
    adapter = named_rules(rules[0])
    scaled = {}
    for each in of_kind(documents, "HorizontalPodAutoscaler"):
        spec, target = each["spec"], each["spec"]["scaleTargetRef"]
        if spec["minReplicas"] > spec["maxReplicas"]:
            yield f"{name_of(each)}: minReplicas {spec['minReplicas']} > maxReplicas {spec['maxReplicas']}"
        found = [one for one in of_kind(documents, target["kind"]) if one["metadata"]["name"] == target["name"]]
        if not found:
            yield f"{name_of(each)}: there is no {target['kind']}/{target['name']}"
            continue
        scaled[name_of(found[0])] = spec
        if "replicas" in found[0]["spec"]:
            yield f"{name_of(found[0])}: replicas would undo what {name_of(each)} decides at each apply"
        for metric in spec["metrics"]:
            if metric["type"] == "Resource" and any(
                metric["resource"]["name"] not in one["resources"]["requests"] for one in containers(found[0])
            ):
                yield f"{name_of(each)}: {metric['resource']['name']} is a share of a request that is not there"
            if metric["type"] == "Pods" and f"as: {metric['pods']['metric']['name']}}}" not in adapter:
                yield f"{name_of(each)}: no rule of the adapter makes {metric['pods']['metric']['name']}"
    for each in of_kind(documents, "Deployment", "StatefulSet"):
        if name_of(each) not in scaled and "replicas" not in each["spec"]:
            yield f"{name_of(each)} has neither replicas nor an HPA"
    for each in of_kind(documents, "PodDisruptionBudget"):
        if each["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{name_of(each)}: with pods that never get ready no node could ever be drained"
        for workload in workloads_selected(documents, each["spec"]["selector"]):
            spec = scaled.get(name_of(workload))
            fewest = spec["minReplicas"] if spec else workload["spec"].get("replicas", 1)
            if each["spec"]["minAvailable"] >= fewest:
                yield f"{name_of(each)}: with {fewest} pods of {name_of(workload)} no node could ever be drained"


def named_rules(documents: list[Document]) -> str:
    """The rules for the Prometheus adapter, which may have been put into the cluster by another apply."""
    maps = [each for each in of_kind(documents, "ConfigMap") if each["metadata"]["name"] == "prometheus-adapter-rules"]
    return "".join(each["data"]["config.yaml"] for each in maps)


def references(documents: list[Document]) -> Iterator[str]:
    keys = {
        (each["kind"], each["metadata"]["name"]): set(each.get("data", {})) for each in of_kind(documents, "ConfigMap")
    }
    keys |= {("Secret", each["metadata"]["name"]): set(each["stringData"]) for each in example_secrets()}
    there = {name_of(each) for each in documents}
    for each in of_kind(documents, *WORKLOADS):
        template: Any = pod_template(each)
        pod = template["spec"]
        if (account := pod.get("serviceAccountName")) and f"ServiceAccount/{account}" not in there:
            yield f"{name_of(each)}: no ServiceAccount {account}"
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        claims = [one["metadata"]["name"] for one in each["spec"].get("volumeClaimTemplates", [])]
        for volume in volumes.values():
            if (claim := volume.get("persistentVolumeClaim", {}).get("claimName")) and (
                f"PersistentVolumeClaim/{claim}" not in there
            ):
                yield f"{name_of(each)}: no PersistentVolumeClaim {claim}"
            if "configMap" in volume:
                wanted = {item["key"] for item in volume["configMap"].get("items", [])}
                yield from _missing(each, keys, "ConfigMap", volume["configMap"]["name"], wanted)
        for container in containers(each):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes and mount["name"] not in claims:
                    yield f"{name_of(each)}: container {container['name']} mounts an unknown volume {mount['name']}"
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {})
                for kind, field in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
                    reference = source.get(field)
                    if reference and not reference.get("optional"):
                        yield from _missing(each, keys, kind, reference["name"], {reference["key"]})
    for each in of_kind(documents, "RoleBinding"):
        if f"Role/{each['roleRef']['name']}" not in there:
            yield f"{name_of(each)}: no Role {each['roleRef']['name']}"
        yield from (
            f"{name_of(each)}: no ServiceAccount {subject['name']}"
            for subject in each["subjects"]
            if f"ServiceAccount/{subject['name']}" not in there
        )


def _missing(
    workload: Document, keys: dict[tuple[str, str], set[str]], kind: str, name: str, wanted: set[str]
) -> Iterator[str]:
    if (kind, name) not in keys:
        yield f"{name_of(workload)}: no {kind} {name}"
        return
    yield from (f"{name_of(workload)}: {kind} {name} has no key {key}" for key in sorted(wanted - keys[kind, name]))
