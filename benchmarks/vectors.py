"""The vector store: ours beside LangChain's PGVectorStore and beside raw asyncpg with pgvector.

100,000 vectors of 384 dimensions in 1,000 documents of 100 chunks with two-word texts, beside ten other tenants; ours
as the role that serves, under row-level security. The floor is one table with the same vectors, texts and index, as
its owner: COPY, then SELECT ... ORDER BY embedding <=> $1 LIMIT 10 as a prepared statement, with the least
hnsw.ef_search of EF_SEARCH that finds as much as ours does (questions of a round of their own). The peer's table is
filled with SQL, since its own inserts would take minutes; their rate is measured on 1,000 rows. Every round asks
every candidate, in turn, with questions of their own, so that none finds its pages warmed by another.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from benchmarks.corpus import (
    DIMENSION,
    MAIN,
    Database,
    clustered,
    database,
    load,
    load_neighbours,
    metadata_of,
    open_bench_store,
)
from benchmarks.processes import cpu_ms
from ragents.embeddings.types import Vectors
from ragents.rag.store.pgvector import PgVectorStore
from ragents.rag.store.pgvector.codec import encode_vector, register
from ragents.rag.store.pgvector.indexes import EF_CONSTRUCTION, M, build_indexes
from ragents.rag.store.types import SearchQuery

CHUNKS = 100_000
PER_DOCUMENT = 100
QUESTIONS = 100
ROUNDS = 3
PEER_ROWS = 1_000
TOP_K = 10
FILTERS: dict[str, tuple[dict[str, Any], int]] = {
    "100 %": ({"all": True}, 1),
    "10 %": ({"tenth": 0}, 10),
    "1 %": ({"hundredth": 0}, 100),
    "0.1 %": ({"thousandth": 0}, 1_000),
    "10 %, a range": ({"tenth": {"lt": 1}}, 10),
    "0.1 %, a range": ({"thousandth": {"gte": 0, "lt": 1}}, 1_000),
}
FLOOR = (
    "SELECT id, body, 1 - (embedding <=> $1::vector) FROM floor "
    f"ORDER BY embedding::halfvec({DIMENSION}) <=> $1::vector::halfvec({DIMENSION}) LIMIT {TOP_K}"
)
EF_SEARCH = (60, 80, 100, 120, 140, 160, 200, 240, 300, 400)
STATISTICS_S = 2.0
"""After which a session's counts are seen by others."""
Row = dict[str, object]


@dataclass(frozen=True)
class Candidate:
    """`ask` gives the numbers of the chunks it found; `pid` is the server's process that answers it."""

    name: str
    ask: Callable[[Vectors], Awaitable[Sequence[int]]]
    pid: int


def run() -> list[Row]:
    return asyncio.run(measure_all())


async def measure_all() -> list[Row]:
    vectors, questions = clustered(CHUNKS, queries=QUESTIONS * (ROUNDS + 1))
    asked, tuning = questions[: QUESTIONS * ROUNDS], questions[QUESTIONS * ROUNDS :]
    texts = [f"text {number}" for number in range(CHUNKS)]
    async with database() as base, open_bench_store(base) as store:
        await load_neighbours(store)
        rows = [await load_ours(store, base, vectors, texts)]
        owner = await asyncpg.connect(base.owner, server_settings={"jit": "off"})
        await register(owner, schema=await vector_schema(owner))
        rows.append(await load_floor(owner, vectors, texts))
        peer, peer_row = await load_peer(base, owner, vectors, texts)
        rows.append(peer_row)
        ours = await our_candidate(store, base)
        floor = await floor_candidate(owner, ours, tuning, [exact_answer(vectors, each) for each in tuning])
        exact = [exact_answer(vectors, each) for each in asked]
        await owner.execute("SELECT pg_stat_reset()")
        rows += await ask_all([ours, floor, peer], asked, exact)
        rows.append(await index_scans(owner, "no filter", len(asked)))
        for name in FILTERS:
            rows.append(await filtered(store, base, vectors, asked, name))
            rows.append(await index_scans(owner, name, QUESTIONS))
        await owner.close()
    report(rows)
    return rows


async def load_ours(store: PgVectorStore, base: Database, vectors: Vectors, texts: Sequence[str]) -> Row:
    seconds = await load(store, vectors, texts, per_document=PER_DOCUMENT)
    started = time.perf_counter()
    await build_indexes(base.owner)
    return loaded("ragents", CHUNKS / seconds, time.perf_counter() - started)


async def load_floor(owner: asyncpg.Connection, vectors: Vectors, texts: Sequence[str]) -> Row:
    await owner.execute(f"CREATE TABLE floor (id uuid PRIMARY KEY, body text, embedding vector({DIMENSION}))")
    records = [
        (uuid.UUID(int=number), text, encode_vector(vector))
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    started = time.perf_counter()
    await owner.copy_records_to_table("floor", records=records)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    await owner.execute("SET maintenance_work_mem = '256MB'")
    await owner.execute(
        f"CREATE INDEX ON floor USING hnsw ((embedding::halfvec({DIMENSION})) halfvec_cosine_ops) "
        f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})",
        timeout=3_600,
    )
    await owner.execute("ANALYZE floor")
    return loaded("asyncpg", CHUNKS / seconds, time.perf_counter() - started)


async def load_peer(
    base: Database, owner: asyncpg.Connection, vectors: Vectors, texts: Sequence[str]
) -> tuple[Candidate, Row]:
    from langchain_core.embeddings import Embeddings
    from langchain_postgres import PGEngine, PGVectorStore
    from langchain_postgres.v2.indexes import HNSWQueryOptions

    class Given(Embeddings):
        """The vectors are at hand."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        def embed_query(self, text: str) -> list[float]:
            raise NotImplementedError

    engine = PGEngine.from_connection_string(base.owner.replace("postgresql://", "postgresql+asyncpg://", 1))
    await engine.ainit_vectorstore_table("peer", DIMENSION)
    peer = await PGVectorStore.create(engine, Given(), "peer", index_query_options=HNSWQueryOptions(ef_search=100))
    part = slice(0, PEER_ROWS)
    numbers = [str(uuid.UUID(int=number)) for number in range(PEER_ROWS)]
    started = time.perf_counter()
    await peer.aadd_embeddings(list(texts[part]), vectors[part].tolist(), ids=numbers)
    rate = PEER_ROWS / (time.perf_counter() - started)
    await owner.execute(
        "INSERT INTO peer (langchain_id, content, embedding) SELECT id, body, embedding FROM floor f "
        "WHERE NOT EXISTS (SELECT FROM peer p WHERE p.langchain_id = f.id)"
    )
    started = time.perf_counter()
    await owner.execute("CREATE INDEX ON peer USING hnsw (embedding vector_cosine_ops)", timeout=3_600)
    await owner.execute("ANALYZE peer")
    built = time.perf_counter() - started

    async def ask(vector: Vectors) -> list[int]:
        found = await peer.asimilarity_search_by_vector(vector.tolist(), k=TOP_K)
        return [uuid.UUID(each.id).int for each in found]

    await ask(vectors[0])
    pid = await owner.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE '%peer%' AND pid <> pg_backend_pid() "
        "ORDER BY query_start DESC LIMIT 1"
    )
    return Candidate("PGVectorStore", ask, pid), loaded("PGVectorStore", rate, built)


async def our_candidate(store: PgVectorStore, base: Database) -> Candidate:
    numbers = await numbers_of(base)

    async def ask(vector: Vectors) -> list[int]:
        query = SearchQuery("", vector, "default", top_k=TOP_K, mode="dense")
        return [numbers[source.id] for source in await store.search(query, principal=MAIN)]

    return Candidate("ragents", ask, await pid_of(store))


async def floor_candidate(
    owner: asyncpg.Connection, ours: Candidate, tuning: Vectors, exact: Sequence[set[int]]
) -> Candidate:
    """At the recall of ours."""
    statement = await owner.prepare(FLOOR)

    async def ask(vector: Vectors) -> list[int]:
        return [row[0].int for row in await statement.fetch(encode_vector(vector))]

    async def hits(candidate: Callable[[Vectors], Awaitable[Sequence[int]]]) -> int:
        return sum([len(best & set(await candidate(each))) for each, best in zip(tuning, exact, strict=True)])

    wanted = await hits(ours.ask)
    for ef_search in EF_SEARCH:
        await owner.execute(f"SET hnsw.ef_search = {ef_search}")
        found = await hits(ask)
        print(
            f"asyncpg, ef_search {ef_search}: {found} of the {TOP_K * len(tuning)} best; ragents {wanted}", flush=True
        )
        if found >= wanted:
            break
    return Candidate("asyncpg", ask, owner.get_server_pid())


async def ask_all(candidates: Sequence[Candidate], asked: Vectors, exact: Sequence[set[int]]) -> list[Row]:
    times: dict[str, list[float]] = {each.name: [] for each in candidates}
    hits = dict.fromkeys(times, 0)
    spent = {each.name: cpu_ms(each.pid) for each in candidates}
    for number in range(len(asked) * len(candidates)):
        # Each candidate meets each question, at another time than the others do.
        candidate = candidates[number % len(candidates)]
        question = (number // len(candidates) + 37 * candidates.index(candidate)) % len(asked)
        started = time.perf_counter()
        found = await candidate.ask(asked[question])
        times[candidate.name].append((time.perf_counter() - started) * 1000)
        hits[candidate.name] += len(exact[question] & set(found))
    return [
        searched(
            each.name,
            "no filter",
            times[each.name],
            (cpu_ms(each.pid) - spent[each.name]) / len(asked),
            hits[each.name] / TOP_K / len(asked),
        )
        for each in candidates
    ]


async def filtered(store: PgVectorStore, base: Database, vectors: Vectors, asked: Vectors, name: str) -> Row:
    filters, share = FILTERS[name]
    numbers = await numbers_of(base)
    documents = np.arange(CHUNKS) // PER_DOCUMENT
    passing = np.array([all_equal(metadata_of(int(each)), share) for each in range(CHUNKS // PER_DOCUMENT)])[documents]
    times, hits = [], 0
    pid = await pid_of(store)
    spent, worst = cpu_ms(pid), 0.0
    for vector in asked[:QUESTIONS]:
        query = SearchQuery("", vector, "default", top_k=TOP_K, mode="dense", filters=filters)
        started, before = time.perf_counter(), cpu_ms(pid)
        found = await store.search(query, principal=MAIN)
        times.append((time.perf_counter() - started) * 1000)
        worst = max(worst, cpu_ms(pid) - before)
        hits += len(exact_answer(vectors, vector, passing) & {numbers[source.id] for source in found})
    row = searched("ragents", name, times, (cpu_ms(pid) - spent) / QUESTIONS, hits / TOP_K / QUESTIONS)
    return {**row, "cpu_ms_max": worst}


async def index_scans(owner: asyncpg.Connection, name: str, questions: int) -> Row:
    """Which indexes the serving role's searches walked since the last call, as the server counts them."""
    await asyncio.sleep(STATISTICS_S)
    rows = await owner.fetch(
        "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'ragents' AND idx_scan > 0"
    )
    # The neighbours' are partial indexes of their own, or none: their collections are small.
    scans = {row["indexrelname"]: round(row["idx_scan"] / questions, 2) for row in rows}
    await owner.execute("SELECT pg_stat_reset()")
    return {"name": "ragents", "operation": "index scans", "filter": name, "scans_per_question": scans}


def all_equal(metadata: dict[str, Any], share: int) -> bool:
    keys = {1: "all", 10: "tenth", 100: "hundredth", 1_000: "thousandth"}
    return share == 1 or metadata[keys[share]] == 0


def exact_answer(vectors: Vectors, vector: Vectors, passing: Any = None) -> set[int]:
    scores = vectors @ vector if passing is None else np.where(passing, vectors @ vector, -2)
    return set(np.argpartition(-scores, TOP_K)[:TOP_K].tolist())


async def numbers_of(base: Database) -> dict[str, int]:
    owner = await asyncpg.connect(base.owner)
    rows = await owner.fetch(
        "SELECT k.id, replace(d.uri, '.md', '')::int * $1 + k.position AS number FROM ragents.chunks k "
        "JOIN ragents.documents d ON d.tenant = k.tenant AND d.id = k.document_id WHERE k.tenant = $2",
        PER_DOCUMENT,
        MAIN.tenant,
    )
    await owner.close()
    return {str(row["id"]): row["number"] for row in rows}


async def pid_of(store: PgVectorStore) -> int:
    async with store.connections.use() as db:
        return int(db.get_server_pid())


async def vector_schema(owner: asyncpg.Connection) -> str:
    return str(
        await owner.fetchval("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'")
    )


def loaded(name: str, rate: float, index_s: float) -> Row:
    return {"name": name, "operation": "load", "rows_per_second": round(rate), "index_s": round(index_s, 1)}


def searched(name: str, filters: str, times: list[float], cpu: float, recall: float) -> Row:
    ordered = sorted(times)
    return {
        "name": name,
        "operation": "search",
        "filter": filters,
        "p50_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 2),
        "cpu_ms": round(cpu, 2),
        "recall": round(recall, 4),
    }


def report(rows: list[Row]) -> None:
    print(f"{'':16}{'rows/s':>9}{'index s':>9}")
    for each in rows:
        if each["operation"] == "load":
            print(f"{each['name']:16}{each['rows_per_second']:>9}{each['index_s']:>9}")
    print(f"\n{'':16}{'filter':18}{'p50 ms':>8}{'p95 ms':>8}{'CPU ms':>8}{'recall':>9}")
    for each in rows:
        if each["operation"] == "search":
            print(
                f"{each['name']:16}{each['filter']:18}{each['p50_ms']:>8}{each['p95_ms']:>8}"
                f"{each['cpu_ms']:>8}{each['recall']:>9}"
            )
    for each in rows:
        if each["operation"] == "index scans":
            print(f"index scans per question, {each['filter']}: {each['scans_per_question']}")
    rate = {each["name"]: float(str(each["rows_per_second"])) for each in rows if each["operation"] == "load"}
    p50 = {
        each["name"]: (float(str(each["p50_ms"])), float(str(each["cpu_ms"])))
        for each in rows
        if each["operation"] == "search" and each["filter"] == "no filter"
    }
    print()
    print(
        f"ragents: {rate['ragents'] / rate['PGVectorStore']:.1f} x PGVectorStore and "
        f"{rate['ragents'] / rate['asyncpg']:.2f} x COPY in rows per second"
    )
    for name in ("asyncpg", "PGVectorStore"):
        print(
            f"ragents: {p50['ragents'][0] / p50[name][0]:.2f} x {name} in the median of a query, "
            f"{p50['ragents'][1] / p50[name][1]:.2f} x in the server's CPU"
        )
