"""The hybrid query: dense and lexical lists fused in one SQL call, beside its dense half and beside fusing in Python.

100,000 chunks of about 100 Zipfian words, in 10,000 documents, beside ten other tenants with the same words; questions
of eight words, three of which are among the hundred most common. The floor is the dense search alone. The peer asks
both lists in two calls and fuses them in Python by reciprocal rank. Agreement compares the lexical list's ten best with
a scan of all chunks. Every round asks every candidate in turn.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from benchmarks.corpus import (
    CHUNKS_PER_DOCUMENT,
    MAIN,
    Database,
    clustered,
    database,
    load,
    load_neighbours,
    open_bench_store,
    questions,
    zipfian,
)
from benchmarks.processes import cpu_ms
from benchmarks.vectors import FILTERS, pid_of
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.store.pgvector.indexes import build_indexes
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import Source

CHUNKS = 100_000
QUESTIONS = 100
ROUNDS = 3
TOP_K = 10
COMMON = "the ten most common words"
Row = dict[str, object]
Ask = Callable[[SearchQuery], Awaitable[Sequence[Source]]]

EXACT = """
WITH asked AS (
    SELECT q.term, coalesce(t.chunks, 0) + coalesce(d.chunks, 0) AS chunks
    FROM (SELECT DISTINCT ragents.term_of(u.lexeme, $1) AS term FROM unnest(to_tsvector('english', $2)) u) q
    LEFT JOIN ragents.term_counts t ON t.tenant = $3 AND t.collection_id = $1 AND t.term = q.term
    CROSS JOIN LATERAL (
        SELECT sum(inner_product(d.counts, ('{' || q.term || ':1}/1000000000')::sparsevec))::int AS chunks
        FROM ragents.term_deltas d WHERE d.tenant = $3 AND d.collection_id = $1
    ) d
), weights AS MATERIALIZED (
    SELECT ('{' || string_agg(term || ':' || ln(1 + ($4 - chunks + 0.5) / (chunks + 0.5))::real, ',' ORDER BY term)
            || '}/1000000000')::sparsevec AS idf
    FROM asked WHERE chunks > 0
)
SELECT k.id FROM (
    SELECT t.document_id, t.position FROM ragents.chunk_terms t, weights w WHERE t.tenant = $3 AND t.collection_id = $1
    ORDER BY t.impacts <#> w.idf, t.document_id, t.position LIMIT 10
) b JOIN ragents.chunks k ON k.tenant = $3 AND k.document_id = b.document_id AND k.position = b.position
"""


def run() -> list[Row]:
    return asyncio.run(measure_all())


async def measure_all() -> list[Row]:
    vectors, asked = clustered(CHUNKS, queries=QUESTIONS)
    texts = zipfian(CHUNKS)
    queries = [
        SearchQuery(text, vector, "default", top_k=TOP_K)
        for text, vector in zip(questions(texts, QUESTIONS), asked, strict=True)
    ]
    async with database() as base, open_bench_store(base) as store:
        await load_neighbours(store, texts=texts)
        seconds = await load(store, vectors, texts)
        await build_indexes(base.owner)
        rows: list[Row] = [{"name": "ragents", "operation": "load", "chunks_per_second": round(CHUNKS / seconds)}]
        rows += await ask_all(store, queries)
        rows += [await filtered(store, queries, name) for name in FILTERS]
        rows += [await shaped(store, queries, name) for name in ("one common word", COMMON, "a page of text")]
        rows.append({"name": "ragents", "operation": "agreement", "top_10": await agreement(store, base, queries)})
    report(rows)
    return rows


async def ask_all(store: PgVectorStore, queries: Sequence[SearchQuery]) -> list[Row]:
    async def hybrid(query: SearchQuery) -> Sequence[Source]:
        return await store.search(query, principal=MAIN)

    async def dense(query: SearchQuery) -> Sequence[Source]:
        return await store.search(replace(query, mode="dense"), principal=MAIN)

    async def lexical(query: SearchQuery) -> Sequence[Source]:
        return await store.search(replace(query, mode="lexical"), principal=MAIN)

    async def in_python(query: SearchQuery) -> Sequence[Source]:
        """Each list as deep as ours."""
        scores: dict[str, float] = {}
        found: dict[str, Source] = {}
        for ask in (dense, lexical):
            for rank, source in enumerate(await ask(replace(query, top_k=query.candidates))):
                scores[source.id] = scores.get(source.id, 0.0) + 1 / (60 + rank)
                found[source.id] = source
        return [found[key] for key in sorted(scores, key=lambda key: -scores[key])[:TOP_K]]

    candidates: dict[str, Ask] = {"hybrid": hybrid, "dense": dense, "lexical": lexical, "in Python": in_python}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    pid = await pid_of(store)
    for each in queries[:5]:
        for ask in candidates.values():
            await ask(each)
    for turn in range(ROUNDS):
        for shift, (name, ask) in enumerate(candidates.items()):
            for number in range(len(queries)):
                query = queries[(number + 23 * shift + 7 * turn) % len(queries)]
                before, started = cpu_ms(pid), time.perf_counter()
                await ask(query)
                times[name].append((time.perf_counter() - started) * 1000)
                spent[name].append(cpu_ms(pid) - before)
    return [row(name, "no filter", times[name], spent[name]) for name in candidates]


async def filtered(store: PgVectorStore, queries: Sequence[SearchQuery], name: str) -> Row:
    return await measured(store, [replace(each, filters=FILTERS[name][0]) for each in queries], name)


async def shaped(store: PgVectorStore, queries: Sequence[SearchQuery], name: str) -> Row:
    from benchmarks.corpus import vocabulary

    words = vocabulary()
    text = {"one common word": words[0], COMMON: " ".join(words[:10]), "a page of text": " ".join(words[::100])}[name]
    return await measured(store, [replace(each, text=text) for each in queries], name)


async def measured(store: PgVectorStore, queries: Sequence[SearchQuery], name: str) -> Row:
    times, spent = [], []
    pid = await pid_of(store)
    for query in queries:
        before, started = cpu_ms(pid), time.perf_counter()
        await store.search(query, principal=MAIN)
        times.append((time.perf_counter() - started) * 1000)
        spent.append(cpu_ms(pid) - before)
    return row("hybrid", name, times, spent)


async def agreement(
    store: PgVectorStore, base: Database, queries: Sequence[SearchQuery], *, chunks: int = CHUNKS
) -> float:
    owner = await asyncpg.connect(base.owner, server_settings={"jit": "off", "search_path": "public, pg_catalog"})
    key = await owner.fetchval("SELECT id FROM ragents.collections WHERE tenant = $1", MAIN.tenant)
    hits = 0
    for query in queries:
        exact = await owner.fetch(EXACT, key, query.text, MAIN.tenant, float(chunks))
        found = await store.search(replace(query, mode="lexical"), principal=MAIN)
        hits += len({str(each["id"]) for each in exact} & {source.id for source in found})
    await owner.close()
    return round(hits / TOP_K / len(queries), 4)


def row(name: str, question: str, times: list[float], spent: list[float]) -> Row:
    ordered: list[Any] = sorted(times)
    return {
        "name": name,
        "operation": "search",
        "question": question,
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 1),
        "max_ms": round(ordered[-1], 1),
        "cpu_ms": round(sum(spent) / len(spent), 1),
        "cpu_max_ms": round(max(spent)),
    }


def report(rows: list[Row]) -> None:
    print(f"{'':12}{'':28}{'p50 ms':>8}{'p95 ms':>8}{'max ms':>8}{'CPU ms':>8}{'CPU max':>8}")
    for each in rows:
        if each["operation"] == "search":
            print(
                f"{each['name']:12}{each['question']:28}{each['p50_ms']:>8}{each['p95_ms']:>8}{each['max_ms']:>8}"
                f"{each['cpu_ms']:>8}{each['cpu_max_ms']:>8}"
            )
    cpu = {each["name"]: float(str(each["cpu_ms"])) for each in rows if each.get("question") == "no filter"}
    print()
    print(f"hybrid: {cpu['hybrid'] / cpu['dense']:.2f} x the CPU of the dense query alone")
    print(f"hybrid: {cpu['hybrid'] / cpu['in Python']:.2f} x the server's CPU of two queries fused in Python")
    for each in rows:
        if each["operation"] == "agreement":
            print(f"lexical list: {each['top_10']} of the ten best by exact BM25")
        if each["operation"] == "load":
            print(f"load: {each['chunks_per_second']} chunks/s ({CHUNKS_PER_DOCUMENT} chunks to a document)")
