"""What a schema cannot see in a Compose file: each rule yields the problems that it finds."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragents.config import load_settings
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError

VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\})")
PUBLIC = "127.0.0.1:"
SETTINGS = Path(__file__).parents[2] / "configuration.yaml"
"""As in the image."""
LEAST_CORES = 2
"""Of a machine that the file is for; a limit above what there is is an error to Docker."""
LONGEST_LOOKUP_S = 1
"""Of a name that nobody answers. With 10 s (resolv.conf's own) no question was answered while both Redis were away."""
TOLD_TWICE = {"pids_limit": "pids", "mem_limit": "memory", "cpus": "cpus"}
"""A service's own word for a limit, and that of deploy.resources.limits: Compose 2 and later want them equal."""


class Unset(KeyError):
    """A variable that has to be set is not."""


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """As Compose does it: ${NAME}, ${NAME:-default}, ${NAME:?message} and $$ for a dollar; empty counts as unset."""
    if isinstance(value, dict):
        return {name: interpolate(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        text = variables.get(match["name"], "")
        if not text and match["kind"] == ":?":
            raise Unset(match["name"])
        return text or (match["rest"] if match["kind"] == ":-" else "")

    return VARIABLE.sub(found, value)


def variables_of(text: str) -> set[str]:
    return {match["name"] for match in VARIABLE.finditer(text) if match["name"]}


def environment_file(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def find_problems(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Problems of an interpolated Compose file that lies in `folder`."""
    services = document["services"]
    found = [problem for name, service in services.items() for problem in _of_service(name, service, document, folder)]
    return [*found, *_of_redis(services), *_of_names(services["ragents"]), *_of_shutdown(services)]


def _of_service(name: str, service: Mapping[str, Any], document: Mapping[str, Any], folder: Path) -> Iterator[str]:
    image, _, tag = service["image"].rpartition(":")
    if not image or tag in {"latest", "stable"} or "/" in tag:
        yield f"{name}: the image {service['image']!r} names no version"
    yield from (f"{name}: {problem}" for problem in _hardening(service))
    for port in service.get("ports", []):
        if name != "nginx" or not str(port).startswith(PUBLIC):
            yield f"{name}: publishes {port}"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith((".", "/")):
            if not (folder / source).exists():
                yield f"{name}: mounts {source}, which does not exist"
        elif source not in document["volumes"]:
            yield f"{name}: mounts the volume {source}, which is not declared"
    for network in service["networks"]:
        if network not in document["networks"]:
            yield f"{name}: is in the network {network}, which is not declared"
    yield from (f"{name}: {problem}" for problem in _dependencies(service, document["services"]))
    if service["image"].startswith("ragents:"):
        try:
            load_settings(ServiceConfig, path=SETTINGS, environ=service["environment"])
        except ConfigError as error:
            yield f"{name}: {error}"


def _hardening(service: Mapping[str, Any]) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield "its root can be written"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add") or service.get("privileged"):
        yield "it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges"
    limits = service["deploy"]["resources"]["limits"]
    if "memory" not in limits:
        yield "its memory has no limit"
    if float(limits.get("cpus", 0)) > LEAST_CORES:
        yield f"on a machine of {LEAST_CORES} cores Docker refuses {limits['cpus']} CPUs, and nothing starts"
    if "pids" not in limits:
        yield "it may start any number of processes"
    for old, new in TOLD_TWICE.items():
        if old in service and service[old] != limits.get(new):
            yield f"{old} beside deploy.resources.limits without the same {new}: Compose refuses the whole file"
    if service.get("restart") != "no" and "healthcheck" not in service:
        yield "nobody sees whether it is healthy"


def _dependencies(service: Mapping[str, Any], services: Mapping[str, Any]) -> Iterator[str]:
    for other, dependency in service.get("depends_on", {}).items():
        if other not in services:
            yield f"depends on {other}, which does not exist"
        elif dependency["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            yield f"waits for the health of {other}, which has no health check"
        elif dependency["condition"] == "service_completed_successfully" and services[other].get("restart") != "no":
            yield f"waits for the end of {other}, which is started again and again"
        elif not service.get("profiles") and services[other].get("profiles"):
            yield f"depends on {other}, which only a profile starts"


def _of_redis(services: Mapping[str, Any]) -> Iterator[str]:
    cache, state = (" ".join(services[name]["command"]) for name in ("redis-cache", "redis-state"))
    if "--maxmemory-policy allkeys-lru" not in cache or "--appendonly no" not in cache:
        yield "redis-cache: does not evict, or writes to the disk"
    if "--maxmemory-policy noeviction" not in state or "--appendonly yes" not in state:
        yield "redis-state: evicts, or forgets at a restart"


def _of_names(service: Mapping[str, Any]) -> Iterator[str]:
    given = dict(option.split(":") for option in service.get("dns_opt", []))
    if float(given.get("timeout", 5)) * float(given.get("attempts", 2)) > LONGEST_LOOKUP_S:
        yield "ragents: looks so long for the name of a Redis that has stopped that Postgres is not found either"


def _of_shutdown(services: Mapping[str, Any]) -> Iterator[str]:
    service = services["ragents"]
    try:
        settings = load_settings(ServiceConfig, path=SETTINGS, environ=service["environment"])
    except ConfigError:  # told above
        return
    command = service["command"]
    drain_s = int(command[command.index("--timeout-graceful-shutdown") + 1])
    if drain_s <= settings.serving.timeout_s or drain_s != settings.serving.graceful_shutdown_s:
        yield f"ragents: {drain_s} s to shut down, the longest answer takes {settings.serving.timeout_s:.0f} s"
    if int(service["stop_grace_period"].removesuffix("s")) <= drain_s:
        yield f"ragents: is killed before its {drain_s} s to shut down are over"
