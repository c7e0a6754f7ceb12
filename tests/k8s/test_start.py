"""`bentoml serve` with the settings, the variables and the arguments of the Deployment, beside Redis and Postgres as
the other manifests make them.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import BENTOML, Server
from tests.k8s.checks.service import argument_after, environment
from tests.k8s.manifests import K8S, ROOT, containers, kustomize, load, named
from tests.k8s.servers import Cluster, RedisProcess

KEY = "k" * 32

pytestmark = pytest.mark.timeout(300)  # two starts and an ingestion


def variables(
    cluster: Cluster, cache: RedisProcess, state: RedisProcess, directory: Path, container: dict[str, object]
) -> dict[str, str]:
    """Of a container, with the addresses of the servers here."""
    config = directory / "configuration.yaml"
    config.write_text(named(load("deployment.yaml"), "ConfigMap", "ragents-config")["data"]["configuration.yaml"])
    here = {
        "RAGENTS_CONFIG": str(config),
        "BENTOML_HOME": str(directory / "bentoml"),
        "RAGENTS_STORE__DSN": cluster.dsn("ragents_app"),
        "RAGENTS_STORE__MIGRATE_DSN": cluster.dsn("ragents_owner"),
        "RAGENTS_CACHE__REDIS_URL": cache.url(0),
        "RAGENTS_RATE_LIMIT__REDIS_URL": state.url(2),
        "RAGENTS_CHECKPOINT__REDIS_URL": state.url(1),
        "RAGENTS_AUTH__BOOTSTRAP_KEY": KEY,
    }
    wanted = {name: value for name, value in environment(container).items() if value != "given"}
    return {name: here.get(name, value) for name, value in wanted.items()} | {"BENTOML_CONTAINERIZED": "true"}


def ragents(given: dict[str, str], *arguments: str) -> str:
    """What `ragents` prints with these variables."""
    command = [BENTOML[0], "-c", "from ragents.cli import main; main()", *arguments]
    kept = {name: os.environ[name] for name in ("PATH", "RAGENTS_HOME")}
    done = subprocess.run(command, env=kept | given, capture_output=True, text=True, timeout=90, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def server(cluster: Cluster, start: Callable[[str], RedisProcess], home: Path, tmp_path: Path) -> Iterator[Server]:
    main = next(each for each in containers(named(kustomize(K8S / "overlays" / "production"), "Deployment", "ragents")))
    given = variables(cluster, start("cache.conf"), start("state.conf"), tmp_path, main)
    drain = argument_after(main["args"], "--timeout-graceful-shutdown")
    command = [*BENTOML, *main["args"][:1], "service:RAGentsService", "--timeout-graceful-shutdown", str(drain)]
    ragents(given, "ingest", str(ROOT / "docs" / "keys.md"))
    server = Server(command, home / "k8s-start", **given)
    yield server.wait_until_ready()
    server.kill()


def test_it_starts_answers_with_its_key_and_ends_without_cutting_an_answer_off(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        health = client.get("/health", headers={"X-API-Key": KEY}).json()
        stranger = client.post("/query", json={"query": "hello"})
        metrics = client.get("/metrics").text

        assert health["status"] == "ok", health
        assert health["components"]["cache"]["detail"] == "redis"
        assert stranger.status_code == 401
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        assert "rag_in_flight" in metrics

    statuses: list[int] = []
    stopping = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as own:
            while not stopping.is_set():
                answer = own.post(
                    f"{server.url}/query",
                    json={"query": f"what does a key carry? {time.monotonic()}", "use_cache": False},
                    headers={"X-API-Key": KEY, "Connection": "close"},
                )
                statuses.append(answer.status_code)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    while len(statuses) < 8:
        assert server.process.poll() is None
        time.sleep(0.05)
    stopping.set()  # as preStop and the endpoints do: nothing new comes, what is in flight goes on
    os.kill(server.process.pid, signal.SIGTERM)
    for thread in asking:
        thread.join(60)

    assert server.process.wait(60) == 0
    assert set(statuses) - {429} == {200}  # 429: the rate limit, which the other Redis counts


def test_the_init_container_migrates_once_and_says_when_nothing_is_to_do(
    cluster: Cluster, start: Callable[[str], RedisProcess], tmp_path: Path
) -> None:
    init = next(containers(named(load("deployment.yaml"), "Deployment", "ragents")))
    given = variables(cluster, start("cache.conf"), start("state.conf"), tmp_path, init)
    assert (init["name"], init["args"][0]) == ("migrate", "ragents")
    assert "up to date" in ragents(given, *init["args"][1:])
