"""deploy/nginx/nginx.conf by nginx itself, and in front of a served RAGents."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from benchmarks.mock_llm import MockLLM, open_mock_llm
from benchmarks.mock_llm.types import Script, Step
from tests.deploy.tools import ROOT, tool
from tests.e2e.conftest import Server, StartServer, start_server
from tests.ports import free_port

__all__ = ["start_server"]

pytestmark = pytest.mark.deploy

CONFIG = ROOT / "deploy" / "nginx" / "nginx.conf"
KEY = "a-key-of-the-tests-0123456789"
TOKENS, BETWEEN_S = 20, 0.1


class Nginx:
    """nginx with our configuration: the addresses changed, nothing else."""

    def __init__(self, directory: Path, *upstreams: str) -> None:
        self.port, other = free_port(), free_port()
        servers = " ".join(f"server {upstream} max_fails=0;" for upstream in upstreams)
        text = CONFIG.read_text()
        changes = {
            "listen 8080;": f"listen 127.0.0.1:{self.port};",
            "listen 8081;": f"listen 127.0.0.1:{other};",
            # Several addresses of one name, as Compose's DNS gives them.
            "    map $http_x_request_id": f"    upstream replicas {{ {servers} }}\n    map $http_x_request_id",
            "set $ragents ragents:3000;": "set $ragents replicas;",
            " /tmp/nginx": f" {directory}/nginx",
            "/dev/stdout": f"{directory}/access.log",
            "/dev/stderr": f"{directory}/error.log",
        }
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        self.file = directory / "nginx.conf"
        self.file.write_text(text)
        self.url = f"http://127.0.0.1:{self.port}"
        self.access_log = directory / "access.log"
        command = [tool("nginx", "apt-get install nginx-light"), "-c", str(self.file), "-g", "daemon off;"]
        self._process = subprocess.Popen([*command, "-e", f"{directory}/error.log"], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                httpx.get(f"{self.url}/metrics", timeout=1)
                return
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def test_nginx_accepts_the_file_as_it_is_shipped(tmp_path: Path) -> None:
    command = [tool("nginx", "apt-get install nginx-light"), "-t", "-c", str(CONFIG), "-e", str(tmp_path / "error.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.fixture(scope="module")
def model() -> Iterator[MockLLM]:
    script = Script(steps=[Step(content=" ".join(f"word{n}" for n in range(TOKENS)))], between_tokens_s=BETWEEN_S)
    with open_mock_llm(script) as opened:
        yield opened


@pytest.fixture(scope="module")
def ragents(start_server: StartServer, model: MockLLM) -> Server:
    return start_server(
        "nginx",
        RAGENTS_AUTH__BOOTSTRAP_KEY=KEY,
        RAGENTS_LLM__PROVIDER="openai",
        RAGENTS_LLM__BASE_URL=model.url,
        RAGENTS_LLM__MODEL_NAME="m",
        RAGENTS_LLM__API_KEY="none",
        RAGENTS_EMBEDDINGS__BACKEND="hashing",
        RAGENTS_RAG__MIN_CONFIDENCE="0",
        RAGENTS_RATE_LIMIT__ENABLED="false",
    )


@pytest.fixture(scope="module")
def nginx(ragents: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    opened = Nginx(tmp_path_factory.mktemp("nginx"), f"127.0.0.1:{ragents.port}")
    yield opened
    opened.close()


@pytest.fixture
def client(nginx: Nginx) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=nginx.url, headers={"X-API-Key": KEY}, timeout=30) as opened:
        yield opened


def test_a_body_that_is_too_large_gets_413_in_our_shape(client: httpx.Client) -> None:
    response = client.post("/query", json={"query": "x" * 1_100_000}, headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert response.json()["request_id"] == response.headers["X-Request-ID"] == "mine"
    assert response.headers["Content-Type"] == "application/json"


def test_without_a_replica_the_answer_is_503_in_our_shape(tmp_path: Path) -> None:
    alone = Nginx(tmp_path, f"127.0.0.1:{free_port()}")
    try:
        response = httpx.post(f"{alone.url}/query", json={"query": "Who?"}, timeout=10)
    finally:
        alone.close()
    assert (response.status_code, response.json()["code"]) == (503, "backend_unavailable")
    assert response.headers["Retry-After"] == "5"
    assert response.json()["request_id"]


def test_a_replica_that_is_away_costs_no_question(ragents: Server, tmp_path: Path) -> None:
    two = Nginx(tmp_path, f"127.0.0.1:{free_port()}", f"127.0.0.1:{ragents.port}")
    try:
        with httpx.Client(base_url=two.url, headers={"X-API-Key": KEY}, timeout=30) as http:
            statuses = [http.post("/query", json={"query": "How are keys made?"}).status_code for _ in range(6)]
    finally:
        two.close()
    assert statuses == [200] * 6
    assert '502, 200"' in two.access_log.read_text()


class Forgetful:
    """A replica that reads a request and dies over it."""

    def __init__(self) -> None:
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                if b"POST" in connection.recv(65_536):
                    self.requests += 1

    def close(self) -> None:
        self._listener.close()


def test_a_question_that_a_replica_has_seen_is_never_sent_again(tmp_path: Path) -> None:
    replicas = [Forgetful(), Forgetful()]
    two = Nginx(tmp_path, *(replica.address for replica in replicas))
    try:
        response = httpx.post(f"{two.url}/query", json={"query": "Who?"}, timeout=10)
    finally:
        two.close()
        for replica in replicas:
            replica.close()
    assert (response.status_code, response.json()["code"]) == (503, "backend_unavailable")
    assert sum(replica.requests for replica in replicas) == 1


def test_a_key_makes_the_question_go_to_another_replica_when_one_dies_over_it(ragents: Server, tmp_path: Path) -> None:
    dying = Forgetful()
    two = Nginx(tmp_path, dying.address, f"127.0.0.1:{ragents.port}")
    try:
        with httpx.Client(base_url=two.url, headers={"X-API-Key": KEY}, timeout=30) as http:
            answers = [
                http.post(
                    "/query",
                    json={"query": "How are keys made?", "thread_id": f"t{n}"},
                    headers={"Idempotency-Key": f"k{n}"},
                )
                for n in range(4)
            ]
    finally:
        two.close()
        dying.close()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert dying.requests > 0


def test_with_a_key_and_no_replica_left_the_answer_is_503_in_our_shape(tmp_path: Path) -> None:
    replicas = [Forgetful(), Forgetful()]
    two = Nginx(tmp_path, *(replica.address for replica in replicas))
    try:
        response = httpx.post(f"{two.url}/query", json={"query": "Who?"}, headers={"Idempotency-Key": "k"}, timeout=10)
    finally:
        two.close()
        for replica in replicas:
            replica.close()
    assert (response.status_code, response.json()["code"]) == (503, "backend_unavailable")
    assert [replica.requests for replica in replicas] == [1, 1]


def test_metrics_are_not_for_the_world(client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 404


def test_what_ragents_answers_passes_unchanged(client: httpx.Client, nginx: Nginx) -> None:
    assert client.get("/readyz").status_code == 200
    refused = httpx.post(f"{nginx.url}/query", json={"query": "Who?"}, timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (401, "authentication_required")
    answer = client.post(
        "/query", json={"query": "How is the cache configured?"}, headers={"X-Request-ID": "of-the-client"}
    )
    assert answer.status_code == 200
    assert answer.json()["request_id"] == "of-the-client"


def test_tokens_arrive_one_by_one(client: httpx.Client) -> None:
    """Each about as late after the one before as the model tells them: nothing is held back."""
    arrived: list[float] = []
    question = {"query": "How is the store configured?", "use_cache": False}
    with client.stream("POST", "/query/stream", json=question) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line == "event: token":
                arrived.append(time.monotonic())
    assert len(arrived) >= TOKENS / 2
    # Held back, all would come within a few milliseconds.
    assert arrived[-1] - arrived[0] > TOKENS * BETWEEN_S / 2
    steps = sorted(after - before for before, after in pairwise(arrived))
    assert steps[len(steps) // 2] > BETWEEN_S / 4


def test_a_reader_who_hangs_up_is_told_to_the_model(client: httpx.Client, model: MockLLM) -> None:
    hung_up = model.seen.hung_up
    question = {"query": "How are limits configured?", "use_cache": False}
    with client.stream("POST", "/query/stream", json=question) as response:
        for line in response.iter_lines():
            if line == "event: token":
                break
    assert model.wait_for("hung_up", hung_up + 1)


def test_neither_keys_nor_questions_come_into_the_log(client: httpx.Client, nginx: Nginx) -> None:
    client.post("/query?secret=canary", json={"query": "canary"})
    log = nginx.access_log.read_text()
    assert "/query" in log
    assert "canary" not in log
    assert KEY not in log
