"""What the manifests tell RAGents, and whether it fits the servers beside it."""

import itertools
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ragents.config import load_settings
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError
from tests.k8s.checks.structure import name_of
from tests.k8s.manifests import WORKLOADS, Document, containers, example_secrets, named, of_kind, quantity

RESERVED_CONNECTIONS = 20
"""For migrations, backups, ingestion and a person with psql."""


def environment(container: Document) -> dict[str, str]:
    """As the container sees it, with the values of the example for what is secret and required."""
    secrets = {each["metadata"]["name"]: each["stringData"] for each in example_secrets()}
    values = {}
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is None:
            values[variable["name"]] = variable.get("value", "")
        elif (value := secrets.get(reference["name"], {}).get(reference["key"])) is not None:
            values[variable["name"]] = value.replace("CHANGE-ME", "changed-to-something-else")
        elif reference.get("optional"):
            values[variable["name"]] = "given"
    return values


def settings_of(documents: list[Document], workload: str = "ragents", container: str = "ragents") -> ServiceConfig:
    """The settings as a container of these manifests loads them. Raises ConfigError as it would."""
    found = next(each for each in of_kind(documents, *WORKLOADS) if each["metadata"]["name"] == workload)
    return _load(documents, next(each for each in containers(found) if each["name"] == container))


def _load(documents: list[Document], container: Document) -> ServiceConfig:
    values = environment(container)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "configuration.yaml"
        config = named(documents, "ConfigMap", "ragents-config")["data"]
        mounted = values.pop("RAGENTS_CONFIG", None)
        if mounted is None:
            file.write_text("")
        elif (Path(mounted).parent.as_posix(), Path(mounted).name in config) == ("/etc/ragents", True):
            file.write_text(config[Path(mounted).name])
        else:
            raise ConfigError(f"settings file {mounted} is not mounted")
        return load_settings(ServiceConfig, path=file, environ=values)


def settings(documents: list[Document]) -> Iterator[str]:
    """Every RAGENTS_* and every line of the ConfigMap is a setting that exists, with a value that it takes."""
    for each in of_kind(documents, *WORKLOADS):
        for container in containers(each):
            if not container["image"].startswith("ragents:"):
                continue
            try:
                found = _load(documents, container)
            except ConfigError as error:
                yield f"{name_of(each)}: {error}"
                continue
            if found.store.dsn is None:
                yield f"{name_of(each)}: container {container['name']} has no store.dsn, and an image refuses to start"
            if container["name"] == "ragents" and found.store.migrate_dsn is not None:
                yield f"{name_of(each)}: the container that serves holds the owner's DSN"
            if container["name"] == "migrate" and found.store.migrate_dsn is None:
                yield f"{name_of(each)}: container migrate has no store.migrate_dsn"


def published(documents: list[Document]) -> Iterator[str]:
    """Names that users know."""
    service = named(documents, "Service", "ragents-service")["spec"]
    if (service["type"], service["ports"][0]["port"]) != ("LoadBalancer", 80):
        yield "ragents-service is not a LoadBalancer on port 80"
    main = next(each for each in containers(named(documents, "Deployment", "ragents")) if each["name"] == "ragents")
    if main["ports"][0]["containerPort"] != 3000 or settings_of(documents).serving.port != 3000:
        yield "the container does not listen on 3000"
    if settings_of(documents).serving.host != "0.0.0.0":
        yield "the container listens on its loopback only"
    for kind, name in (
        ("HorizontalPodAutoscaler", "ragents-hpa"),
        ("PodDisruptionBudget", "ragents-pdb"),
        ("Service", "redis-service"),
        ("Service", "redis-state-service"),
    ):
        if not [each for each in of_kind(documents, kind) if each["metadata"]["name"] == name]:
            yield f"there is no {kind} {name}"


def capacity(documents: list[Document]) -> Iterator[str]:
    """What pods may take together fits into what the servers give."""
    config = settings_of(documents)
    deployment = named(documents, "Deployment", "ragents")
    scaler = named(documents, "HorizontalPodAutoscaler", "ragents-hpa")["spec"]
    main = next(each for each in containers(deployment) if each["name"] == "ragents")
    surge = deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    workers = config.serving.workers
    if workers > quantity(main["resources"]["limits"]["cpu"]):
        yield f"{workers} workers share a limit of {main['resources']['limits']['cpu']} CPUs"
    if workers * config.embeddings.threads > quantity(main["resources"]["limits"]["cpu"]):
        yield f"{workers} workers x {config.embeddings.threads} threads share {main['resources']['limits']['cpu']} CPUs"
    if config.embeddings.threads == 0:
        yield "each worker's encoder takes all CPUs"
    if config.rate_limit.replicas != scaler["minReplicas"]:
        yield f"rate_limit.replicas is {config.rate_limit.replicas}, minReplicas {scaler['minReplicas']}"
    for each in [one for one in of_kind(documents, "StatefulSet") if one["metadata"]["name"] == "postgres"]:
        arguments = dict(arg[2:].split("=", 1) for arg in next(containers(each))["args"] if arg.startswith("-c"))
        most = int(arguments["max_connections"]) - RESERVED_CONNECTIONS
        wanted = (scaler["maxReplicas"] + surge) * workers * config.store.pool_size
        if wanted > most:
            yield f"{wanted} connections at most, and Postgres has {most} to spare"
        memory = quantity(next(containers(each))["resources"]["limits"]["memory"])
        if _bytes(arguments["shared_buffers"]) + _bytes(arguments["maintenance_work_mem"]) > memory / 2:
            yield "shared_buffers and maintenance_work_mem are more than half of Postgres' memory"
    yield from _redis(documents, config)


def _redis(documents: list[Document], config: ServiceConfig) -> Iterator[str]:
    data = named(documents, "ConfigMap", "redis-config")["data"]
    cache, state = (
        dict(line.split(None, 1) for line in data[name].splitlines()) for name in ("cache.conf", "state.conf")
    )
    if cache["maxmemory-policy"] != "allkeys-lru" or cache["appendonly"] != "no" or cache["save"] != '""':
        yield "the cache's Redis does not forget by age alone, or writes to a disk"
    if state["maxmemory-policy"] != "noeviction" or state["appendonly"] != "yes":
        yield "the Redis of state evicts, or keeps no append-only file"
    if config.cache.max_cache_size_mb * 1e6 > _bytes(cache["maxmemory"]):
        yield "cache.max_cache_size_mb is more than maxmemory of its Redis"
    for kind, name, found, share in (
        ("Deployment", "redis-cache", cache, 0.75),
        ("StatefulSet", "redis-state", state, 0.5),
    ):
        limit = quantity(next(containers(named(documents, kind, name)))["resources"]["limits"]["memory"])
        if _bytes(found["maxmemory"]) > share * limit:
            yield f"maxmemory of {name} is more than {share:.0%} of its limit"
    limits = config.rate_limit.redis_url
    for place, url, wanted in (
        ("cache.redis_url", config.cache.redis_url.get_secret_value(), "redis-service"),
        ("checkpoint.redis_url", config.checkpoint.redis_url.get_secret_value(), "redis-state-service"),
        ("rate_limit.redis_url", limits.get_secret_value() if limits else "", "redis-state-service"),
    ):
        if urlsplit(url).hostname != wanted:
            yield f"{place} names {urlsplit(url).hostname}, not {wanted}"
    if config.cache.backend != "redis":
        yield "each pod has a cache of its own"


def argument_after(arguments: list[str], name: str) -> str | None:
    return next((value for key, value in itertools.pairwise(arguments) if key == name), None)


def _bytes(text: str) -> float:
    """As Redis and Postgres write sizes: 1gb, 1GB."""
    number, unit = re.fullmatch(r"(\d+)\s*([a-zA-Z]*)", text.strip()).groups()  # type: ignore[union-attr]  # else a bug
    return int(number) * {"": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}[unit.lower()]
