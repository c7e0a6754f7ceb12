"""python -m benchmarks.ramp LOCUST: 1, 50, 200 and 1000 users on three servers behind haproxy, then faults.

Everything is on this machine: the servers, haproxy, Postgres, Redis, the model (benchmarks/mock_llm, .2 s to the first
token and .01 s between tokens) and the users, who read for LOAD_THINK_S seconds before they ask again; a single user
asks without a pause. LOAD_SECONDS is the time of all stages together. LOCUST is the program, in an environment of its
own. Writes benchmarks/results/load.json and load.html.
"""

import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.cluster import ROOT, Cluster, open_cluster
from benchmarks.query import ANSWER, BETWEEN_TOKENS_S, FIRST_TOKEN_S, questions

SECONDS = float(os.environ.get("LOAD_SECONDS", "240"))
THINK_S = float(os.environ.get("LOAD_THINK_S", "10"))
DOCUMENTS = 100
RESULTS = ROOT / "benchmarks" / "results"
LOOK_S = 0.25
ASKED_FOR_LAYERS = 4
QUIET = {"steps": [{"content": ANSWER}], "first_token_s": FIRST_TOKEN_S, "between_tokens_s": BETWEEN_TOKENS_S}


async def _nothing(cluster: Cluster) -> None:
    """Nothing is wrong."""


async def _quiet(cluster: Cluster) -> None:
    await cluster.script(**QUIET)


async def _some_500s(cluster: Cluster) -> None:
    steps = [{"content": ANSWER}, {"content": ANSWER}, {"content": ANSWER}, {"fault": "500"}] * 5_000
    await cluster.script(**{**QUIET, "steps": steps})


async def _nothing_but_500s(cluster: Cluster) -> None:
    await cluster.script(steps=[{"fault": "500"}])


async def _slow(cluster: Cluster) -> None:
    await cluster.script(**{**QUIET, "first_token_s": 3.0})


async def _redis_away(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.cache.stop)


async def _redis_back(cluster: Cluster) -> None:
    cluster.cache.start()


async def _kill(cluster: Cluster) -> None:
    cluster.replicas[0].kill()
    cluster.replicas[0].start()


@dataclass(frozen=True)
class Stage:
    """`share` of all the time; `begin` and `end` bring a fault about and take it away."""

    name: str
    users: int
    share: float
    begin: Callable[[Cluster], Awaitable[None]] = _nothing
    end: Callable[[Cluster], Awaitable[None]] = _nothing


STAGES = (
    Stage("1", 1, 0.08),
    Stage("50", 50, 0.14),
    Stage("200", 200, 0.14),
    Stage("1000", 1000, 0.18),
    Stage("200 again", 200, 0.08),
    Stage("a quarter of the model's answers are 500", 200, 0.08, _some_500s, _quiet),
    Stage("the model takes 3 s longer", 200, 0.08, _slow, _quiet),
    Stage("the cache's Redis is stopped", 200, 0.08, _redis_away, _redis_back),
    Stage("kill -9 of a server, which starts again", 200, 0.1, _kill),
    Stage("every answer of the model is a 500", 200, 0.04, _nothing_but_500s, _quiet),
)


async def measure(locust: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        home = Path(directory)
        documents, asked = material(home)
        async with open_cluster(home, documents=documents, settings=as_shipped) as cluster:
            await cluster.script(**QUIET)
            plan = await planned(cluster, home, asked)
            (home / "plan.json").write_text(json.dumps(plan))
            RESULTS.mkdir(exist_ok=True)
            arguments = [locust, "--headless", "--only-summary", "-f", str(Path(__file__).parent / "users.py")]
            arguments += ["--host", cluster.url, "--html", str(RESULTS / "load.html"), "--stop-timeout", "20"]
            users = subprocess.Popen(
                arguments,
                cwd=home,
                env=os.environ | {"RAMP_PLAN": str(home / "plan.json")},
                stdout=subprocess.DEVNULL,
                stderr=(home / "locust.log").open("wb"),
            )
            try:
                watched = await watch(cluster, users, Path(plan["stage"]))
            finally:
                users.kill()
                users.wait(10)
            if not Path(plan["seen"]).exists():
                raise RuntimeError(f"locust has not ended well:\n{(home / 'locust.log').read_text()[-3000:]}")
            seen = json.loads(Path(plan["seen"]).read_text())
    return {
        "suite": "load",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "think_s": THINK_S,
        "questions": len(asked),
        "rows": [row(stage, seen[stage.name], watched[stage.name]) for stage in STAGES],
    }


async def watch(cluster: Cluster, users: "subprocess.Popen[bytes]", file: Path) -> dict[str, dict[str, Any]]:
    """Brings the faults about as their stages come; per stage the servers' memory and the caches' counts."""
    http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
    found: dict[str, dict[str, Any]] = {}
    by_name = {stage.name: stage for stage in STAGES}
    now, before = STAGES[0], await layers(http, cluster)
    rss = [0.0] * len(cluster.replicas)
    async with http, asyncio.timeout(SECONDS + 90):
        while True:
            over = users.poll() is not None
            stage = by_name[file.read_text()]
            rss = [max(old, each.rss_mb()) for old, each in zip(rss, cluster.replicas, strict=True)]
            if stage is not now or over:
                after = await layers(http, cluster)
                found[now.name] = {"rss_mb": [round(mb) for mb in rss], "hit_rates": rates(before, after)}
                print(f"{now.name}: over", flush=True)
                await now.end(cluster)
                if over:
                    return found
                now, before, rss = stage, after, [0.0] * len(cluster.replicas)
                await now.begin(cluster)
            await asyncio.sleep(LOOK_S)


async def layers(http: aiohttp.ClientSession, cluster: Cluster) -> dict[str, tuple[int, int]]:
    """(hits, misses) of each layer so far, over all servers; what cannot be told is left out.

    Asked several times: a server that is late in asking Redis tells of a layer as if it had just begun.
    """
    found: dict[str, tuple[int, int]] = {}
    for _ in range(ASKED_FOR_LAYERS):
        for name, each in (await _layers(http, cluster)).items():
            found[name] = max(found.get(name, (0, 0)), each, key=sum)
    return found


async def _layers(http: aiohttp.ClientSession, cluster: Cluster) -> dict[str, tuple[int, int]]:
    headers = {"X-API-Key": cluster.keys["admin"]}
    try:
        async with http.get(f"{cluster.url}/cache/stats", headers=headers) as response:
            told = (await response.json())["layers"]
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        return {}
    return {name: (each["hits"], each["misses"]) for name, each in told.items()}


def rates(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Hits of all look-ups in between. A Redis that began anew counts from 0."""
    found = {}
    for name, (hits, misses) in after.items():
        was = before.get(name, (0, 0))
        if hits < was[0] or misses < was[1]:
            was = (0, 0)
        asked = hits + misses - sum(was)
        if asked:
            found[name] = round((hits - was[0]) / asked, 3)
    return found


def row(stage: Stage, seen: Mapping[str, Any], watched: Mapping[str, Any]) -> dict[str, Any]:
    ordered = sorted(seen["latencies_ms"])
    outcomes = dict(seen["outcomes"])
    refused = {kind: outcomes.pop(kind) for kind in list(outcomes) if kind.startswith("429")}

    def at(share: float) -> int | None:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else None

    return {
        "name": stage.name,
        "users": stage.users,
        "seconds": round(SECONDS * stage.share),
        "answers": len(ordered),
        "per_s": round(len(ordered) / (SECONDS * stage.share), 1),
        "p50_ms": at(0.5),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "told_to_wait": sum(refused.values()),
        "told_to_wait_by": refused,
        "errors": {kind: count for kind, count in outcomes.items() if kind != "200"},
        **watched,
    }


async def planned(cluster: Cluster, home: Path, asked: Sequence[str]) -> dict[str, Any]:
    """What benchmarks/ramp/users.py reads."""
    await cluster.key("admin", admin=True)
    # The limits that a key has by default; those of the settings are lifted.
    limited = await cluster.key("limited", burst_size=10, requests_per_minute=60, requests_per_hour=1000)
    (home / "stage").write_text(STAGES[0].name)
    return {
        "stages": [{"name": s.name, "users": s.users, "seconds": SECONDS * s.share} for s in STAGES],
        "questions": list(asked),
        "think_s": THINK_S,
        "keys": {"clients": cluster.keys["clients"], "limited": limited},
        "stage": str(home / "stage"),
        "seen": str(home / "seen.json"),
    }


def material(home: Path) -> tuple[Path, list[str]]:
    """The documents and the questions: SciFact's where its folder is, else made from the project's own pages."""
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / "scifact"
    if not folder.is_dir():
        return ROOT / "docs", [f"What is said of: {line}?" for line in headings(ROOT / "docs")]
    corpus = home / "corpus.jsonl"
    with (folder / "corpus.jsonl").open("rb") as lines:
        corpus.write_bytes(b"".join(islice(lines, DOCUMENTS)))
    return corpus, questions(folder)


def headings(folder: Path) -> list[str]:
    pages = sorted(folder.rglob("*.md"))
    return [line.lstrip("# ") for page in pages for line in page.read_text().splitlines() if line.startswith("#")]


def as_shipped(settings: dict[str, Any]) -> None:
    """The real encoder and the cache's own time-out."""
    settings["embeddings"] = {"backend": "onnx"}
    del settings["cache"]["timeout_s"]


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    heads = ("users", "answers", "per_s", "p50_ms", "p95_ms", "p99_ms", "told_to_wait")
    print(f"{'stage':42}" + "".join(f"{head:>13}" for head in heads))
    for each in rows:
        print(f"{each['name']:42}" + "".join(f"{each[head]!s:>13}" for head in heads))
        print(f"{'':6}errors {each['errors']}; hit rates {each['hit_rates']}; MB {each['rss_mb']}")


if __name__ == "__main__":
    report = asyncio.run(measure(sys.argv[1]))
    (RESULTS / "load.json").write_text(json.dumps(report, indent=1) + "\n")
    print_table(report["rows"])
