"""Throughput of POST /query by workers and by servers behind haproxy, beside one worker.

The model waits instead of computing (benchmarks/mock_llm), and a worker has few places for questions, so that places
are what runs out, not the machine's cores: one worker gives PLACES / MODEL_S answers a second at most. Clients are
twice as many as there are places, ask one question after the other and use no cache.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.cluster import Cluster, open_cluster
from benchmarks.load import ask

SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
PLACES, MODEL_S = 8, 1.0
CLIENTS_PER_PLACE = 2
SHAPES = ((1, 1), (1, 2), (2, 1), (3, 1))
"""(servers, workers of each)"""
ROUNDS = 2


def run() -> list[dict[str, Any]]:
    return asyncio.run(measure())


async def measure() -> list[dict[str, Any]]:
    """The best of ROUNDS for each shape: what disturbs a round only ever takes from it."""
    rows: list[dict[str, Any]] = []
    print(
        f"{'servers':>8}{'workers':>9}{'clients':>9}{'answers/s':>11}{'of linear':>11}{'cores used':>12}{'failed':>8}"
    )
    for servers, workers in SHAPES:
        with tempfile.TemporaryDirectory(prefix="rb-") as directory:
            async with open_cluster(Path(directory), count=servers, workers=workers, settings=few_places) as cluster:
                found = [await throughput(cluster, servers * workers) for _ in range(ROUNDS)]
        row = max(found, key=lambda each: each["per_s"])
        row = {"name": "scale", "servers": servers, "workers": workers, **row}
        one = rows[0]["per_s"] if rows else row["per_s"]
        row["of_linear"] = round(row["per_s"] / (one * servers * workers), 2)
        rows.append(row)
        print(
            f"{servers:>8}{workers:>9}{row['clients']:>9}{row['per_s']:>11}{row['of_linear']:>11}"
            f"{row['cores']:>12}{row['failed']:>8}",
            flush=True,
        )
    return rows


def few_places(settings: dict[str, Any]) -> None:
    settings["serving"]["max_in_flight"] = PLACES


async def throughput(cluster: Cluster, workers: int) -> dict[str, Any]:
    """`cores`: CPU seconds of the servers' workers per second."""
    await cluster.script(first_token_s=MODEL_S)
    clients = workers * PLACES * CLIENTS_PER_PLACE
    headers = {"X-API-Key": await cluster.key("clients")}

    def body(number: int) -> dict[str, Any]:
        return {"query": f"How is the store configured? ({number})", "use_cache": False}

    before = sum(replica.cpu_ms() for replica in cluster.replicas)
    seen = await ask(f"{cluster.url}/query", body, clients=clients, seconds=SECONDS, headers=headers)
    spent = sum(replica.cpu_ms() for replica in cluster.replicas) - before
    await _idle(cluster)
    return {"clients": clients, **seen.row(), "cores": round(spent / 1000 / SECONDS, 2)}


async def _idle(cluster: Cluster) -> None:
    """What was under way has ended; a client that leaves does not cancel its question."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        for replica in cluster.replicas:
            while await _in_flight(http, replica.url):
                await asyncio.sleep(0.2)


async def _in_flight(http: aiohttp.ClientSession, url: str) -> float:
    async with http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("rag_in_flight"))
