"""python -m benchmarks.million: the store with 1,000,000 chunks of 384 dimensions and about 100 Zipfian words.

100,000 documents of ten chunks, beside ten other tenants, on the embedded Postgres as it is shipped (128 MB of shared
buffers), through the role that serves. Dense recall is counted by similarity, against all vectors; the lexical list's
against a scan of all chunks. With --home the database stays there, and the next run only asks. It takes about 40
minutes and 12 GB of disk, so that it is no suite of `make bench`.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from benchmarks.corpus import (
    CHUNKS_PER_DOCUMENT,
    MAIN,
    Database,
    clustered,
    database,
    load,
    load_neighbours,
    metadata_of,
    open_bench_store,
    questions,
    zipfian,
)
from benchmarks.hybrid import Row, agreement, row
from benchmarks.processes import cpu_ms
from benchmarks.vectors import FILTERS, all_equal, pid_of
from ragents.embeddings.types import Vectors
from ragents.errors import NotFound
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.store.pgvector.indexes import build_indexes
from ragents.rag.store.types import SearchQuery
from ragents.rag.types import SearchMode

QUESTIONS, WARM, EXACT_QUESTIONS = 200, 20, 20
PART = 50_000
TOP_K = 10
EVEN = 1e-5
"""Similarities that are closer than this are one: the server adds in another order."""
RESULT = Path(__file__).parent / "results" / "million.json"
SIZES = """
SELECT relname AS name, pg_table_size(oid) AS table_bytes, pg_indexes_size(oid) AS index_bytes FROM pg_class
WHERE relnamespace = 'ragents'::regnamespace AND relkind = 'r' AND pg_total_relation_size(oid) > 10000000
UNION ALL
SELECT relname, 0, pg_relation_size(oid) FROM pg_class
WHERE relnamespace = 'ragents'::regnamespace AND relkind = 'i' AND pg_relation_size(oid) > 10000000
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--chunks", type=int, default=1_000_000)
    arguments.add_argument("--home", type=Path, help="a folder for the database, which stays")
    given = arguments.parse_args()
    rows = asyncio.run(measure(given.chunks, given.home))
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count(), "chunks": given.chunks}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


async def measure(chunks: int, home: Path | None) -> list[Row]:
    vectors, asked = clustered(chunks, queries=QUESTIONS)
    texts = zipfian(PART)
    queries = [
        SearchQuery(text, vector, "default", top_k=TOP_K)
        for text, vector in zip(questions(texts, QUESTIONS), asked, strict=True)
    ]
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
    async with database(home) as base, open_bench_store(base) as store:
        rows: list[Row] = []
        if not await is_loaded(store, chunks):
            rows += await load_all(store, base, vectors, texts)
        modes: tuple[SearchMode, ...] = ("dense", "lexical", "hybrid")
        for mode in modes:
            rows.append(told(await ask(store, [replace(each, mode=mode) for each in queries], vectors, "no filter")))
        for name in ("10 %", "1 %", "0.1 %", "10 %, a range"):
            for mode in ("dense", "hybrid"):
                some = [replace(each, mode=mode, filters=FILTERS[name][0]) for each in queries]
                rows.append(told(await ask(store, some, vectors, name)))
        found = await agreement(store, base, queries[:EXACT_QUESTIONS], chunks=chunks)
        rows.append(told({"operation": "agreement", "top_10": found}))
        rows += await sizes(base)
    return rows


async def is_loaded(store: PgVectorStore, chunks: int) -> bool:
    try:
        return (await store.collection("default", principal=MAIN)).chunks == chunks
    except NotFound:
        return False


async def load_all(store: PgVectorStore, base: Database, vectors: Vectors, texts: Sequence[str]) -> list[Row]:
    """In parts, so that the texts of one are in memory. The first part's are those that the questions are made of."""
    await load_neighbours(store, texts=texts)
    seconds, rates = 0.0, []
    for start in range(0, len(vectors), PART):
        part = vectors[start : start + PART]
        some = texts if start == 0 else zipfian(PART, seed=1_000 + start)
        spent = await load(store, part, some[: len(part)], first=start // CHUNKS_PER_DOCUMENT)
        seconds += spent
        rates.append(round(len(part) / spent))
        print(f"{start + len(part)} chunks, {rates[-1]} a second", flush=True)
    loaded = told({"operation": "load", "chunks_per_second": round(len(vectors) / seconds), "of_each_part": rates})
    started = time.perf_counter()
    await build_indexes(base.owner)
    return [loaded, told({"operation": "index", "seconds": round(time.perf_counter() - started, 1)})]


async def ask(store: PgVectorStore, queries: Sequence[SearchQuery], vectors: Vectors, name: str) -> Row:
    """Times, the server's CPU, and the recall of the dense list."""
    pid = await pid_of(store)
    for query in queries[:WARM]:
        await store.search(query, principal=MAIN)
    times, spent, hits = [], [], 0
    for query, best in zip(queries[WARM:], least_similarities(vectors, queries[WARM:], name), strict=True):
        before, started = cpu_ms(pid), time.perf_counter()
        found = await store.search(query, principal=MAIN)
        times.append((time.perf_counter() - started) * 1000)
        spent.append(cpu_ms(pid) - before)
        hits += sum(source.similarity is not None and source.similarity >= best - EVEN for source in found)
    measured = row(queries[0].mode, name, times, spent)
    if queries[0].mode == "dense":
        measured["recall"] = round(hits / TOP_K / len(times), 4)
    return measured


def least_similarities(vectors: Vectors, queries: Sequence[SearchQuery], name: str) -> list[float]:
    """Of each question: the similarity of the tenth best of the chunks that pass the filter."""
    if queries[0].mode != "dense":
        return [2.0] * len(queries)
    passing: Any = slice(None)
    if name in FILTERS:
        documents = range(len(vectors) // CHUNKS_PER_DOCUMENT)
        passing = np.repeat([all_equal(metadata_of(each), FILTERS[name][1]) for each in documents], CHUNKS_PER_DOCUMENT)
    stored = vectors[passing]
    return [float(np.partition(stored @ each.embedding, -TOP_K)[-TOP_K]) for each in queries]


async def sizes(base: Database) -> list[Row]:
    owner = await asyncpg.connect(base.owner)
    rows = [told({"operation": "size", **row}) for row in await owner.fetch(SIZES)]
    await owner.close()
    return rows


def told(row: Row) -> Row:
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
