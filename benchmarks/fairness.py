"""Fair queues over HTTP: a light user's latency beside a heavy one's flood, and LOW questions under a CRITICAL flood.

A server with PLACES places and a model (benchmarks/mock_llm) that takes FIRST_TOKEN_S; two users with keys. The light
user asks one question after the other, by itself and beside the flood of the heavy user's clients, in turns. Then the
heavy user's questions are CRITICAL and the light one's LOW, which have aged after 3 x AGING_S: from then on every
fourth place is theirs, so that the bound of a wait is 3 x AGING_S and four turns of a place.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Seen, ask
from benchmarks.servers import BENTOML, ROOT, process

PLACES, HEAVY_CLIENTS, LIGHT_CLIENTS = 4, 32, 1
FIRST_TOKEN_S = 0.3
AGING_S = 1.0
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "12"))
SETTINGS = {
    "RAGENTS_SERVING__MAX_IN_FLIGHT": str(PLACES),
    "RAGENTS_SERVING__AGING_S": str(AGING_S),
    "RAGENTS_SERVING__SAMPLE_DOCUMENTS": str(ROOT / "docs"),
    "RAGENTS_EMBEDDINGS__BACKEND": "hashing",
    "RAGENTS_RAG__MIN_CONFIDENCE": "0",
    "RAGENTS_LLM__PROVIDER": "openai",
    "RAGENTS_LLM__MODEL_NAME": "mock",
}
PLENTY = ("--requests-per-minute", "1000000", "--requests-per-hour", "2000000", "--burst-size", "1000000")


def run() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory, ExitStack() as servers:
        home = Path(directory)
        home.chmod(0o755)
        mock = servers.enter_context(
            process([sys.executable, "-m", "benchmarks.mock_llm", "--first-token-s", str(FIRST_TOKEN_S)])
        )
        settings = {
            **SETTINGS,
            "RAGENTS_HOME": str(home),
            "BENTOML_HOME": str(home / "bentoml"),
            "RAGENTS_LLM__BASE_URL": f"http://127.0.0.1:{mock.port}/v1",
        }
        server = servers.enter_context(process(BENTOML, **settings))
        light, heavy = (make_key(user, settings) for user in ("light", "heavy"))
        return asyncio.run(measure(f"{server.url}/query", light, heavy))


def make_key(user: str, settings: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of a new key that may ask for any priority, as often as it likes."""
    command = [str(Path(sys.executable).with_name("ragents")), "keys", "create", "--user", user, *PLENTY]
    made = subprocess.run(
        [*command, "--max-priority", "CRITICAL", "--json"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {"X-API-Key": json.loads(made.stdout)["key"]}


@dataclass(frozen=True)
class Asker:
    url: str
    key: Mapping[str, str]
    priority: str = "NORMAL"

    async def ask(self, *, clients: int, seconds: float) -> Seen:
        def body(number: int) -> dict[str, Any]:
            return {"query": f"How is the store configured? ({number})", "use_cache": False, "priority": self.priority}

        return await ask(self.url, body, clients=clients, seconds=seconds, headers=self.key)


async def measure(
    url: str, light: Mapping[str, str], heavy: Mapping[str, str], *, rounds: int = ROUNDS, seconds: float = SECONDS
) -> list[dict[str, object]]:
    modest, greedy = Asker(url, light), Asker(url, heavy)
    await greedy.ask(clients=PLACES, seconds=1)  # the keys are known, and an average run is
    alone, beside, floods = list[float](), list[float](), list[Seen]()
    ratios = []
    for _ in range(rounds):
        quiet = (await modest.ask(clients=LIGHT_CLIENTS, seconds=seconds)).latencies_s
        found, flood = await together(modest, greedy, seconds)
        ratios.append(p95(found) / p95(quiet))
        alone, beside, floods = alone + quiet, beside + found, [*floods, flood]
    low, _ = await together(Asker(url, light, "LOW"), Asker(url, heavy, "CRITICAL"), rounds * seconds)
    bound_s = 3 * AGING_S + 4 * FIRST_TOKEN_S
    rows = [
        row("light user alone", alone),
        row("light user beside a flood", beside),
        row("the flood", [each for flood in floods for each in flood.latencies_s]),
        row("LOW under a CRITICAL flood", low),
    ]
    for each in rows:
        print(", ".join(f"{name}: {value}" for name, value in each.items()))
    summary = {
        "name": "summary",
        "p95_x_alone": round(p95(beside) / p95(alone), 2),
        "p95_x_alone_by_round": [round(each, 2) for each in sorted(ratios)],
        "low_longest_s": round(max(low), 2),
        "low_bound_s": bound_s + FIRST_TOKEN_S,
        "failed": sum(int(flood.row()["failed"]) for flood in floods),
    }
    print(summary)
    return [*rows, summary]


async def together(modest: Asker, greedy: Asker, seconds: float) -> tuple[list[float], Seen]:
    """The modest one's latencies once the flood of the greedy one is there, and the flood."""
    flood = asyncio.create_task(greedy.ask(clients=HEAVY_CLIENTS, seconds=seconds + 1))
    await asyncio.sleep(1)
    found = await modest.ask(clients=LIGHT_CLIENTS, seconds=seconds)
    return found.latencies_s, await flood


def p95(latencies_s: Sequence[float]) -> float:
    return sorted(latencies_s)[int(len(latencies_s) * 0.95)]


def row(name: str, latencies_s: Sequence[float]) -> dict[str, object]:
    return {
        "name": name,
        "answers": len(latencies_s),
        "p50_ms": round(statistics.median(latencies_s) * 1000),
        "p95_ms": round(p95(latencies_s) * 1000),
        "longest_ms": round(max(latencies_s) * 1000),
    }
