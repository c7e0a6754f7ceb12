"""Real servers: `bentoml serve` as a process, on a free port, with a home of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.ports import free_port
from tests.processes import wait_for, wait_until_ready

ROOT = Path(__file__).parents[2]
BENTOML = [sys.executable, "-m", "bentoml"]
START_TIMEOUT_S = 90


def environment(home: Path, **extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAGENTS_", "BENTOML_", "PROMETHEUS_"))}
    return kept | {
        "RAGENTS_HOME": str(home),
        "BENTOML_HOME": str(home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        **extra,
    }


class Server:
    """A server process with its workers. `stop` and `kill` leave nothing of it behind."""

    def __init__(self, command: list[str], home: Path, *, cwd: Path = ROOT, **extra: str) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment(home, **extra)
        self.log = home / f"server-{self.port}.log"
        home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> "Server":
        wait_until_ready(self.process, f"{self.url}/readyz", START_TIMEOUT_S, log=self.log)
        return self

    def ask(self, query: str, **fields: object) -> dict[str, object]:
        response = httpx.post(f"{self.url}/query", json={"query": query, **fields}, timeout=60)
        assert response.status_code == 200, response.text
        body: dict[str, object] = response.json()
        return body

    def stop(self, timeout_s: float = 60) -> int:
        self.process.terminate()
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """kill -9 of the server with all its workers at once."""
        if self.process.poll() is not None:
            return
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                if "guardian" not in " ".join(process.cmdline()) and "postgres" not in process.name():
                    process.kill()
        self.process.kill()
        self.process.wait(10)


def processes_of(home: Path) -> list[str]:
    """Command lines of what still runs for this home: Postgres, its supervisor, a server."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(home) in line or (process.info["cwd"] or "").startswith(str(home)):
            found.append(line)
    return found


def wait_until_gone(home: Path, timeout_s: float = 45) -> None:
    wait_for(lambda: not processes_of(home), f"nothing runs for {home}", timeout_s)


StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(home: Path) -> Iterator[StartServer]:
    """Start `bentoml serve`; whatever a test leaves running is killed at the end."""
    servers: list[Server] = []

    def start(name: str, command: list[str] | None = None, **options: object) -> Server:
        server = Server(command or [*BENTOML, "serve"], home / name, **options)  # type: ignore[arg-type]
        servers.append(server)
        return server.wait_until_ready()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Server:
    """One server for the tests that do not hurt it: `bentoml serve` in the project's root, without arguments."""
    return start_server("shared")
