"""The semantic cache: whom the gate lets through, beside a threshold alone, and what a look-up costs.

The pairs of tests/data/polarity; every two questions of SciFact and Cranfield (BENCH_DATA, as for `quality`) and of
tests/quality; then look-ups among 2,000 answers of one scope in memory and on Postgres, beside two statements that do
nothing on the same connections. All with the packaged encoder.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import numpy as np

from benchmarks.corpus import database, open_bench_store
from ragents.embeddings import EmbeddingConfig, open_embedder
from ragents.embeddings.types import Embedder, Vectors
from ragents.postgres import Connections
from ragents.principal import Principal
from ragents.rag.cache import CacheScope
from ragents.rag.cache.semantic import AnswerStore, MemoryAnswers, PgAnswers, SemanticCache, SemanticCacheConfig, judge
from ragents.rag.cache.semantic.canonical import canonical
from ragents.rag.types import Chunk, Citation, Document, RAGResponse

ROOT = Path(__file__).parents[1]
ALONE = 0.95
"""The threshold of a semantic cache that has no other gate."""
ENTRIES = 2_000
LOOKUPS = 200
PRINCIPAL = Principal(tenant="bench")
COLLECTION = "bench"
Row = dict[str, object]


def run() -> list[Row]:
    return asyncio.run(measure())


async def measure() -> list[Row]:
    async with open_embedder(EmbeddingConfig()) as embedder:
        rows = [row for label in ("different", "same") for row in await pairs(embedder, label)]
        rows += [row for name, questions in collections() for row in await all_pairs(embedder, name, questions)]
        rows.append(gate_cost())
        rows += await lookups(embedder)
    for row in rows:
        print(row, flush=True)
    return rows


async def pairs(embedder: Embedder, label: str) -> list[Row]:
    """By half and kind: pairs, those let through, those that the threshold alone would let through."""
    rows: list[Row] = []
    for half in ("tuning", "held-out"):
        file = ROOT / "tests" / "data" / "polarity" / f"{label}.{half}-by-sha256.jsonl"
        found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        first = await embedder.embed_documents([pair["first"] for pair in found])
        second = await embedder.embed_documents([pair["second"] for pair in found])
        counts: dict[str, Counter[str]] = {"all": Counter()}
        for pair, a, b in zip(found, first, second, strict=True):
            similarity = float(a @ b)
            for kind in ("all", pair["kind"]):
                counts.setdefault(kind, Counter())
                counts[kind]["pairs"] += 1
                counts[kind]["let_through"] += judge(pair["first"], pair["second"], similarity).may_share
                counts[kind]["by_threshold_alone"] += similarity >= ALONE
        rows += [{"label": label, "half": half, "kind": kind, **count} for kind, count in counts.items()]
    return rows


def collections() -> list[tuple[str, list[str]]]:
    data = Path(os.environ.get("BENCH_DATA", "../shared/data")).resolve()
    found = [("tests/quality", _texts(ROOT / "tests" / "quality" / "questions.jsonl", "question"))]
    for name in ("scifact", "cranfield"):
        file = data / name / "queries.jsonl"
        if file.is_file():
            found.append((name, _texts(file, "text")))
        else:
            print(f"{file} is not there; set BENCH_DATA to the folder that holds it", file=sys.stderr)
    return found


async def all_pairs(embedder: Embedder, name: str, questions: list[str]) -> list[Row]:
    """Every two different questions of a collection of questions, each of which asks something else."""
    vectors = await embedder.embed_documents(questions)
    similarities = np.triu(vectors @ vectors.T, 1)
    reasons: Counter[str] = Counter()
    alone = 0
    for i, j in zip(*np.where(similarities >= SemanticCacheConfig().threshold), strict=True):
        if questions[i] != questions[j]:
            reasons[judge(questions[i], questions[j], float(similarities[i, j])).reason] += 1
            alone += int(similarities[i, j] >= ALONE)
    total = len(questions) * (len(questions) - 1) // 2
    return [
        {
            "collection": name,
            "pairs": total,
            "above_threshold": sum(reasons.values()),
            "let_through": reasons["same"],
            "by_threshold_alone": alone,
        }
    ]


def gate_cost() -> Row:
    questions = [
        f"How do I configure the {name} of server {n}?" for n in range(500) for name in ("port", "log", "quota", "zone")
    ]
    started = time.process_time()
    for question in questions:
        canonical.__wrapped__(question)
    new_us = (time.process_time() - started) / len(questions) * 1e6
    judge(questions[0], questions[1], 1.0)
    started = time.process_time()
    for _ in range(2_000):
        judge(questions[0], questions[1], 1.0)
    seen_us = (time.process_time() - started) / 2_000 * 1e6
    return {"gate": "CPU", "reading_a_question_us": round(new_us), "deciding_us": round(seen_us)}


async def lookups(embedder: Embedder) -> list[Row]:
    """`find` with a hit and with a miss, interleaved over the stores."""
    config = SemanticCacheConfig(enabled=True, timeout_s=10, shadow_share=0)
    async with database() as base, open_bench_store(base) as store:
        questions = [f"How do I configure the frobnicator {n} of the server?" for n in range(ENTRIES)]
        vectors = await embedder.embed_documents(questions)
        await store.upsert(
            Document(uri="d", title="d", format="text", content_hash="h"),
            [Chunk(position=0, text="text", start=0, end=4)],
            vectors[:1],
            principal=PRINCIPAL,
            collection=COLLECTION,
            embedding_model=embedder.model,
        )
        epoch = (await store.collection(COLLECTION, principal=PRINCIPAL)).epoch
        scope = CacheScope(tenant=PRINCIPAL.tenant, collection=COLLECTION, epoch=epoch, model=embedder.model)
        stores: dict[str, AnswerStore] = {
            "memory": MemoryAnswers(config),
            "postgres": PgAnswers(store.connections, config),
        }
        caches = {name: SemanticCache(config, answers, embedder=embedder) for name, answers in stores.items()}
        kept_ms = {name: await _fill(cache, questions, vectors, scope) for name, cache in caches.items()}
        times: dict[str, list[float]] = {}
        for n in range(LOOKUPS):
            at = n * 7 % ENTRIES
            reworded = f"Please tell me how to configure the frobnicator {at} of the server"
            hit, miss = await embedder.embed_query(reworded), await embedder.embed_query(f"What is frobnicator {at}?")
            for name, cache in caches.items():
                asked = cache.find(reworded, embedding=hit, scope=scope, principal=PRINCIPAL)
                if await _timed(times, f"{name}, hit", asked) is None:
                    raise RuntimeError(f"{name} missed {reworded!r}")
                asked = cache.find("What is it?", embedding=miss, scope=scope, principal=PRINCIPAL)
                await _timed(times, f"{name}, miss", asked)
            await _timed(times, "floor: a transaction of two empty statements", _floor(store.connections))
    return [
        {
            "lookup": name,
            "entries": ENTRIES,
            "p50_ms": _percentile(t, 50),
            "p95_ms": _percentile(t, 95),
            "loop_cpu_ms": _percentile(times[f"{name}, CPU"], 50),
        }
        for name, t in times.items()
        if not name.endswith(", CPU")
    ] + [{"keep": name, "p50_ms": round(ms, 2)} for name, ms in kept_ms.items()]


async def _fill(cache: SemanticCache, questions: list[str], vectors: Vectors, scope: CacheScope) -> float:
    await cache.start()
    times = []
    for question, vector in zip(questions, vectors, strict=True):
        answer = RAGResponse(question, confidence=1.0, answer="Turn it. [1]" * 20, citations=(Citation(1, "s", "q"),))
        started = time.perf_counter()
        kept = await cache.keep(
            question, answer, embedding=vector, scope=scope, principal=PRINCIPAL, used_tools=False, personal=False
        )
        times.append((time.perf_counter() - started) * 1000)
        if not kept:
            raise RuntimeError(f"{question!r} was not kept: {cache.off_because}")
    return statistics.median(times)


async def _floor(connections: Connections) -> None:
    async with connections.use() as db, db.transaction():
        await db.execute("SELECT set_config('ragents.tenant', $1, true)", "x")
        await db.fetch("SELECT 1")


async def _timed(times: dict[str, list[float]], name: str, work: Awaitable[object]) -> object:
    started, cpu = time.perf_counter(), time.thread_time()
    result = await work
    times.setdefault(name, []).append((time.perf_counter() - started) * 1000)
    times.setdefault(f"{name}, CPU", []).append((time.thread_time() - cpu) * 1000)
    return result


def _percentile(times: list[float], percent: int) -> float:
    return round(float(np.percentile(times, percent)), 2)


def _texts(file: Path, key: str) -> list[str]:
    return [json.loads(line)[key] for line in file.read_text(encoding="utf-8").splitlines()]
