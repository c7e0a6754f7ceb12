"""How pods run: rights, images, probes, and how they end."""

import re
from collections.abc import Iterator
from typing import Any

import ragents
from tests.k8s.checks.service import argument_after, settings_of
from tests.k8s.checks.structure import name_of
from tests.k8s.manifests import WORKLOADS, Document, containers, of_kind, pod_template

USERS = {"ragents": 1034, "redis": 999, "pgvector/pgvector": 999, "vllm/vllm-openai": 1034}
PROBES = {"ragents": {"/livez", "/readyz"}, "vllm": {"/health"}}
STARTUP_S = 300
VERSION = re.compile(r"^v?\d+\.\d+\.\d+([-.]\w+)*$")


def rights(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, *WORKLOADS):
        template: Any = pod_template(each)
        pod = template["spec"]
        security = pod.get("securityContext", {})
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name_of(each)}: the token of its account is mounted"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name_of(each)}: the addresses of all Services are in its environment"
        if (
            security.get("runAsNonRoot") is not True
            or security.get("seccompProfile", {}).get("type") != "RuntimeDefault"
        ):
            yield f"{name_of(each)}: runAsNonRoot and seccomp RuntimeDefault are not both set"
        for container in containers(each):
            image = container["image"].partition(":")[0]
            own = container.get("securityContext", {})
            if security.get("runAsUser") != USERS[image]:
                yield f"{name_of(each)}: runAsUser is {security.get('runAsUser')}, the image's user is {USERS[image]}"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{name_of(each)}: container {container['name']} can write to its root"
            if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name_of(each)}: container {container['name']} keeps capabilities"
            yield from _writable(each, pod, container)


def _writable(workload: Document, pod: Document, container: Document) -> Iterator[str]:
    volatile = {volume["name"] for volume in pod.get("volumes", []) if "emptyDir" in volume}
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", []) if mount["name"] in volatile]
    home = next((each["value"] for each in container.get("env", []) if each["name"] == "BENTOML_HOME"), "/tmp/bentoml")
    if container["image"].startswith("ragents:") and not all(
        any(path == mount or path.startswith(mount + "/") for mount in mounts) for path in (home, "/tmp")
    ):
        yield f"{name_of(workload)}: {home} and /tmp are not both on an emptyDir, and the root is read-only"
    for volume in pod.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"{name_of(workload)}: emptyDir {volume['name']} has no sizeLimit"


def placing(documents: list[Document]) -> Iterator[str]:
    """Where pods may go, and by whose account their image is pulled."""
    for each in of_kind(documents, *WORKLOADS):
        template: Any = pod_template(each)
        pod = template["spec"]
        for spread in pod.get("topologySpreadConstraints", []):
            if spread.get("nodeTaintsPolicy") != "Honor":
                yield (
                    f"{name_of(each)}: nodes that take none of its pods are empty ones of {spread['topologyKey']}; "
                    f"with DoNotSchedule no other may have more than maxSkew"
                )
        own = any(container["image"].startswith("ragents:") for container in containers(each))
        if own and pod.get("serviceAccountName") != "ragents":
            yield f"{name_of(each)}: imagePullSecrets of the account ragents do not reach it"


def names(documents: list[Document]) -> Iterator[str]:
    """A name that nobody answers is given up before a request is: resolv.conf's own 5 s, twice, are too long."""
    patience = settings_of(documents).store.acquire_timeout_s
    for each in [one for one in of_kind(documents, "Deployment") if one["metadata"]["name"] == "ragents"]:
        given = each["spec"]["template"]["spec"].get("dnsConfig", {}).get("options", [])
        options = {"timeout": 5.0, "attempts": 2.0} | {one["name"]: float(one["value"]) for one in given}
        if (seconds := options["timeout"] * options["attempts"]) >= patience:
            yield f"{name_of(each)}: looks a name up for {seconds:g} s; a request waits {patience:g} s for Postgres"


def images(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, *WORKLOADS):
        for container in containers(each):
            _, _, tag = container["image"].partition(":")
            if not VERSION.match(tag):
                yield f"{name_of(each)}: image {container['image']!r} is not pinned to a version"
            elif container["image"].startswith("ragents:") and tag != ragents.__version__:
                yield f"{name_of(each)}: image {container['image']!r}, and this is version {ragents.__version__}"


def probes(documents: list[Document]) -> Iterator[str]:
    for each in of_kind(documents, "Deployment", "StatefulSet"):
        for container in containers(each):
            if container.get("name") == "migrate":
                continue
            for name in ("readinessProbe", "livenessProbe"):
                if name not in container:
                    yield f"{name_of(each)}: container {container['name']} has no {name}"
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(name, {})
                known = PROBES.get(each["metadata"]["name"])
                path = probe.get("httpGet", {}).get("path")
                if path is not None and known is not None and path not in known:
                    yield f"{name_of(each)}: {name} asks {path}, which nobody answers"
                if probe and probe.get("timeoutSeconds", 1) > probe["periodSeconds"]:
                    yield f"{name_of(each)}: {name} waits longer than its period"
    for each in [one for one in of_kind(documents, "Deployment") if one["metadata"]["name"] == "ragents"]:
        main = next(one for one in containers(each) if one["name"] == "ragents")
        startup = main.get("startupProbe", {})
        if startup.get("periodSeconds", 0) * startup.get("failureThreshold", 0) < STARTUP_S:
            yield f"{name_of(each)}: the startup probe allows less than {STARTUP_S} s"
        if main.get("livenessProbe", {}).get("httpGet", {}).get("path") != "/livez":
            yield f"{name_of(each)}: liveness depends on neighbours; only /livez does not"
        if main.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
            yield f"{name_of(each)}: readiness is not asked of /readyz"


def ending(documents: list[Document]) -> Iterator[str]:
    """preStop, then BentoML's grace, then SIGKILL: in this order, and each longer than what it waits for."""
    serving = settings_of(documents).serving
    for each in [one for one in of_kind(documents, "Deployment") if one["metadata"]["name"] == "ragents"]:
        main = next(one for one in containers(each) if one["name"] == "ragents")
        grace = each["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
        drain = float(argument_after(main["args"], "--timeout-graceful-shutdown") or 0)
        pause = main.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        if pause[0] != "sleep" or float(pause[1]) < 5:
            yield f"{name_of(each)}: no preStop sleep; connections that come during the drain would hang"
        if drain <= serving.timeout_s:
            yield f"{name_of(each)}: --timeout-graceful-shutdown {drain:g} cuts answers off (serving.timeout_s)"
        if drain != serving.graceful_shutdown_s:
            yield f"{name_of(each)}: --timeout-graceful-shutdown is not serving.graceful_shutdown_s"
        if grace < float(pause[1]) + drain + 5:
            yield f"{name_of(each)}: killed after {grace} s, and preStop and drain take {float(pause[1]) + drain:g} s"
        update = each["spec"]["strategy"].get("rollingUpdate", {})
        if update.get("maxUnavailable") != 0:
            yield f"{name_of(each)}: a roll-out takes pods away before new ones are ready"
