"""serving.encoder: service. Two workers share one encoder process, which may die under load."""

import concurrent.futures
import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import Server, StartServer, wait_until_gone

CLIENTS = 8
RECOVERY_S = 60
NAME = "ragents-encoder"
SETTINGS = {"RAGENTS_SERVING__ENCODER": "service", "RAGENTS_SERVING__WORKERS": "2"}


@pytest.fixture(scope="module")
def shared(start_server: StartServer) -> Server:
    return start_server("encoder", **SETTINGS, RAGENTS_SERVING__ENCODER_TIMEOUT_S="15")


def workers_of(server: Server, name: str) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [each for each in children if f"--service-name {name} " in " ".join(each.cmdline())]


def ask(server: Server, query: str) -> httpx.Response:
    return httpx.post(f"{server.url}/query", json={"query": query, "use_cache": False}, timeout=60)


def wait_until_answered(server: Server) -> None:
    deadline = time.monotonic() + RECOVERY_S
    while (response := ask(server, "Is it back?")).status_code != 200:
        assert response.status_code == 503, response.text
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)


def in_flight(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("rag_in_flight"))


def test_two_workers_share_one_encoder_and_load_no_model_themselves(shared: Server) -> None:
    assert "encoder" in str(shared.ask("Where does adaptive batching sit and why?", top_k=7)["answer"])
    (encoder,) = workers_of(shared, NAME)
    workers = workers_of(shared, "ragents")
    assert len(workers) == 2
    assert any("onnxruntime" in each.path for each in encoder.memory_maps())
    assert not any("onnxruntime" in each.path for worker in workers for each in worker.memory_maps())
    health = httpx.get(f"{shared.url}/health").json()
    assert health["components"]["encoder"]["status"] == "ok"
    metrics = httpx.get(f"{shared.url}/metrics").text
    assert 'rag_encoder_batch_size_count{kind="query"}' in metrics
    assert "bentoml_service_adaptive_batch_size_count{" in metrics


def test_an_encoder_killed_under_load_is_503_for_those_it_had_and_comes_back(shared: Server) -> None:
    (encoder,) = workers_of(shared, NAME)
    stop, responses = threading.Event(), []

    def client(number: int) -> None:
        while not stop.is_set():
            responses.append(ask(shared, f"Who may call the server, number {number} of {len(responses)}?"))

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        futures = [clients.submit(client, number) for number in range(CLIENTS)]
        try:
            while len(responses) < 2 * CLIENTS:
                time.sleep(0.02)
            encoder.send_signal(signal.SIGSTOP)  # so that it surely dies with requests in its hands
            while in_flight(shared) < CLIENTS:
                time.sleep(0.05)
            encoder.kill()
            wait_until_answered(shared)
        finally:
            stop.set()
        for future in futures:
            future.result()
    refused = [each for each in responses if each.status_code != 200]
    assert refused
    for each in refused:
        assert each.status_code == 503, each.text
        # The extractive model embeds sentences: what it could not is the model's failure.
        assert each.json()["code"] in {"encoder_unavailable", "model_unavailable"}
        assert int(each.headers["Retry-After"]) >= 1
    (again,) = workers_of(shared, NAME)
    assert again.pid != encoder.pid
    assert shared.process.poll() is None
    assert "Traceback" not in shared.log.read_text()


def test_an_encoder_that_hangs_is_503_in_time_while_the_workers_stay_ready(
    start_server: StartServer, tmp_path: Path
) -> None:
    short = tmp_path / "short.md"  # all of the documents, at once, may take a busy machine longer than a request may
    short.write_text("# Somebody\n\nThere is somebody.\n")
    server = start_server(
        "hanging",
        **SETTINGS,
        RAGENTS_SERVING__ENCODER_TIMEOUT_S="3",
        RAGENTS_SERVING__SAMPLE_DOCUMENTS=str(short),
    )
    (encoder,) = workers_of(server, NAME)
    encoder.suspend()
    try:
        response = ask(server, "Is anybody there?")
        assert (response.status_code, response.json()["code"]) == (503, "encoder_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert httpx.get(f"{server.url}/readyz", timeout=10).status_code == 200
        health = httpx.get(f"{server.url}/health", timeout=10)
        assert (health.status_code, health.json()["components"]["encoder"]["status"]) == (503, "unavailable")
    finally:
        encoder.resume()
    wait_until_answered(server)
    server.stop()
    wait_until_gone(server.home)


def test_an_encoder_that_cannot_start_ends_the_server_with_its_reason(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match=r"error: .*no such model on this machine"):
        start_server("no-model", **SETTINGS, RAGENTS_RAG__EMBEDDING_MODEL="no/such-model")


def test_a_backend_without_a_model_of_its_own_is_refused(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match="serving.encoder is 'service' and embeddings.backend 'hashing'"):
        start_server("no-backend", **SETTINGS, RAGENTS_EMBEDDINGS__BACKEND="hashing")


def test_the_encoder_takes_no_pickles(shared: Server) -> None:
    (encoder,) = workers_of(shared, NAME)
    path = next(each.laddr for each in encoder.net_connections("unix") if str(each.laddr).endswith(".sock"))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://encoder") as http:
        response = http.post("/embed_queries", content=b"x", headers={"content-type": "application/vnd.bentoml+pickle"})
        assert response.status_code == 415
        assert len(http.post("/embed_queries", json={"texts": ["x", "y"]}).json()) == 2
