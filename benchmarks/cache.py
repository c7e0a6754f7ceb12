"""The cache: a repeated question beside an empty BentoML handler, and a Zipf trace of real questions beside no cache.

The trace: SciFact's questions, drawn with a frequency of 1/rank; the model is benchmarks/mock_llm with fixed times.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.load import ask
from benchmarks.query import BENTOML, MOCK_ARGUMENTS, Process, loaded, on_scifact, process, questions, settings_of
from benchmarks.servers import redis_server

CLIENTS, SECONDS = 32, float(os.environ.get("BENCH_SECONDS", "10"))
ROUNDS = 3
ALONE = 500
TRACE, TRACE_CLIENTS = 1_500, 8
NOOP = """
import bentoml

@bentoml.service(name="noop", http={"host": "127.0.0.1"}, endpoints={"livez": "/livez", "readyz": "/readyz"})
class Noop:
    @bentoml.api(route="/query")
    async def query(self, query: str) -> dict:
        return {}
"""


def run() -> list[dict[str, object]]:
    return on_scifact(measure)


async def measure(folder: Path) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory, ExitStack() as servers:
        home = Path(directory)
        home.chmod(0o755)
        (home / "noop.py").write_text(NOOP)
        async with (
            loaded(home, folder) as owner,
            redis_server(home) as redis,
            redis_server(home, name="state", append_only=True) as state,
        ):
            mock = servers.enter_context(process([sys.executable, "-m", "benchmarks.mock_llm", *MOCK_ARGUMENTS]))
            common = settings_of(owner, f"http://127.0.0.1:{mock.port}/v1")

            def start(name: str, cache: dict[str, Any], **settings: Any) -> Process:
                file = home / f"{name}.yaml"
                file.write_text(yaml.safe_dump({**common, "cache": cache, **settings}))
                return servers.enter_context(process(BENTOML, RAGENTS_CONFIG=str(file), RAGENTS_HOME=str(home)))

            systems = {
                "in memory": start("memory", {"backend": "memory"}),
                "on Redis": start("redis", {"backend": "redis", "redis_url": redis}),
                "on Redis, threads on a second one": start(
                    "threads",
                    {"backend": "redis", "redis_url": redis, "namespace": "second"},
                    checkpoint={"backend": "redis", "redis_url": state},
                ),
            }
            noop = servers.enter_context(process([*BENTOML, "noop:Noop", "--working-dir", str(home)]))
            asked = questions(folder)
            rows = await repeated({"an empty handler": noop, **systems}, asked[0])
            rows += [await inside(name, server, asked[0]) for name, server in systems.items()]
            for name, server in list(systems.items())[:2]:
                rows.append(await trace(name, server, mock, asked, cached=True))
            rows.append(await trace("no cache", systems["in memory"], mock, asked, cached=False))
            return rows


async def repeated(systems: dict[str, Process], question: str) -> list[dict[str, object]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for server in systems.values():
        await ask(f"{server.url}/query", lambda _: {"query": question}, clients=4, seconds=3)
    for _ in range(ROUNDS):
        for name, server in systems.items():
            seen = await ask(f"{server.url}/query", lambda _: {"query": question}, clients=CLIENTS, seconds=SECONDS)
            found[name].append(seen.row())
    rows: list[dict[str, object]] = []
    floor = sorted(row["per_s"] for row in found["an empty handler"])[ROUNDS // 2]
    for name, each in found.items():
        middle = sorted(each, key=lambda row: float(row["per_s"]))[ROUNDS // 2]
        row = {"what": "repeated", "name": name, **middle, "of_the_floor": round(float(middle["per_s"]) / floor, 3)}
        rows.append(row)
        print(row, flush=True)
    return rows


async def inside(name: str, server: Process, question: str) -> dict[str, object]:
    """What the service itself says a hit took, one after the other."""
    took = list[float]()
    async with aiohttp.ClientSession() as session:
        for _ in range(ALONE):
            async with session.post(f"{server.url}/query", json={"query": question}) as response:
                answer = await response.json()
            if answer["cached"] != "answer":
                raise RuntimeError(f"{name}: not from the cache: {answer['cached']}")
            took.append(answer["latency_ms"])
    ordered = sorted(took)
    row: dict[str, object] = {
        "what": "inside the handler",
        "name": name,
        "p50_ms": round(ordered[ALONE // 2], 2),
        "p95_ms": round(ordered[int(ALONE * 0.95)], 2),
    }
    print(row, flush=True)
    return row


async def trace(name: str, server: Process, mock: Process, asked: Sequence[str], *, cached: bool) -> dict[str, object]:
    """TRACE questions by Zipf's law, some clients at a time."""
    rng = random.Random(7)
    drawn = rng.choices(asked, weights=[1 / rank for rank in range(1, len(asked) + 1)], k=TRACE)
    async with aiohttp.ClientSession() as session:
        await session.post(f"{server.url}/cache/clear", json={})
        before, said = await stats(session, server), await heard(session, mock)
        latencies = await asked_in_turn(session, server.url, drawn, lambda q: {"query": q, "use_cache": cached})
        after, calls = await stats(session, server), await heard(session, mock) - said
    ordered = sorted(latencies)
    row: dict[str, object] = {
        "what": "Zipf trace",
        "name": name,
        "questions": TRACE,
        "p50_ms": round(ordered[TRACE // 2] * 1000, 1),
        "p95_ms": round(ordered[int(TRACE * 0.95)] * 1000, 1),
        "model_calls": calls,
        "hit_rate": {layer: rate(before[layer], after[layer]) for layer in after},
    }
    print(row, flush=True)
    return row


async def asked_in_turn(
    session: aiohttp.ClientSession, url: str, drawn: Sequence[str], body: Callable[[str], dict[str, Any]]
) -> list[float]:
    loop, waiting, latencies = asyncio.get_running_loop(), iter(drawn), list[float]()

    async def client() -> None:
        for question in waiting:
            began = loop.time()
            async with session.post(f"{url}/query", json=body(question)) as response:
                await response.read()
                response.raise_for_status()
            latencies.append(loop.time() - began)

    await asyncio.gather(*(client() for _ in range(TRACE_CLIENTS)))
    return latencies


async def stats(session: aiohttp.ClientSession, server: Process) -> dict[str, dict[str, int]]:
    async with session.get(f"{server.url}/cache/stats") as response:
        layers: dict[str, dict[str, int]] = (await response.json())["layers"]
        return layers


async def heard(session: aiohttp.ClientSession, mock: Process) -> int:
    async with session.get(f"{mock.url}/_seen") as response:
        return int((await response.json())["begun"])


def rate(before: dict[str, int], after: dict[str, int]) -> float | None:
    hits, misses = after["hits"] - before["hits"], after["misses"] - before["misses"]
    return round(hits / (hits + misses), 3) if hits + misses else None
