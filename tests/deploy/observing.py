"""Real Prometheus, Alertmanager and a receiver of their alerts, on loopback, for a test."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.conftest import ROOT
from tests.ports import free_port
from tests.processes import end, wait_until_ready

PROMETHEUS = ROOT / "deploy" / "prometheus"
START_S = 30.0


def tool(name: str, *, package: str) -> str:
    """Where it is. A test that needs it fails without it: it has not shown what it is there to show."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; apt-get install {package}", pytrace=False)
    return found


@contextmanager
def running(command: Sequence[str], *, ready: str, log: Path) -> Iterator[None]:
    """The program, from when `ready` answers 200 on; it is ended with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_until_ready(process, ready, START_S, log=log)
        yield
    finally:
        end(process)


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def values(self, query: str) -> list[tuple[Mapping[str, str], float]]:
        """Labels and value of each series, now."""
        response = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=20)
        assert response.status_code == 200, f"{query}: {response.text}"
        data = response.json()["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in data["result"]]


@contextmanager
def prometheus(
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    *,
    rules: Path = PROMETHEUS / "rules.yml",
    alertmanager: str | None = None,
    every: str = "1s",
) -> Iterator[Prometheus]:
    """`targets`: addresses by job."""
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
        ],
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        tool("prometheus", package="prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    url = f"http://127.0.0.1:{port}"
    with running(command, ready=f"{url}/-/ready", log=folder / "prometheus.log"):
        yield Prometheus(url)


@contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Its address."""
    folder.mkdir(parents=True)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
    port = free_port()
    command = [
        tool("prometheus-alertmanager", package="prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, ready=f"http://127.0.0.1:{port}/-/ready", log=folder / "alertmanager.log"):
        yield f"127.0.0.1:{port}"


@dataclass
class Received:
    """Alerts as they came: (status, alert)."""

    url: str = ""
    alerts: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def of(self, name: str, status: str) -> list[Mapping[str, Any]]:
        return [alert for found, alert in self.alerts if found == status and alert["labels"]["alertname"] == name]


@contextmanager
def webhook() -> Iterator[Received]:
    """A receiver of Alertmanager's webhooks."""
    received = Received()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.alerts += [(alert["status"], alert) for alert in body["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Not on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
