"""Ingestion: from a file to searchable chunks, beside the encoder alone on the same chunks and LangChain's parts.

The first 1,000 documents of SciFact as JSON lines, into the embedded Postgres; the same encoder everywhere. The floor
embeds the chunks that ours made, in the order and batches that suit the encoder best. BENCH_DATA as in quality.py.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.chunking import within
from ragents import ingestion
from ragents.config.rag_config import RAGConfig
from ragents.deployment.app import APP_ROLE, migrate_all
from ragents.embedded import open_postgres
from ragents.embeddings import Embedder, EmbeddingConfig, open_embedder
from ragents.ingestion.embedding import text_to_embed
from ragents.rag.chunking import Chunker
from ragents.rag.chunking.cutting import by_structure
from ragents.rag.store import open_store
from ragents.rag.store.types import StoreConfig, VectorStore
from ragents.rag.types import TextBlock

DOCUMENTS, ROUNDS = 1_000, 3
FLOOR_BATCH = 256


def run() -> list[dict[str, object]]:
    corpus = Path(os.environ.get("BENCH_DATA", "../shared/data")) / "scifact" / "corpus.jsonl"
    if not corpus.is_file():
        print(f"{corpus} is not there; set BENCH_DATA to the folder that holds scifact", file=sys.stderr)
        return []
    return asyncio.run(measure(corpus))


async def measure(corpus: Path) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        file = home / "corpus.jsonl"
        with corpus.open("rb") as lines:
            records = list(islice(lines, DOCUMENTS))
        file.write_bytes(b"".join(records))
        async with open_postgres(home / "postgres") as owner, open_embedder(EmbeddingConfig()) as embedder:
            dsn = owner.replace("://postgres@", f"://{APP_ROLE}@", 1)
            await migrate_all(owner, dsn=dsn)
            async with open_store(StoreConfig(), dsn=dsn) as store:
                return await compare(file, [json.loads(line) for line in records], store, embedder, owner)


async def compare(
    file: Path, records: Sequence[dict[str, Any]], store: VectorStore, embedder: Embedder, owner: str
) -> list[dict[str, object]]:
    texts = texts_of(records, embedder)
    await embedder.embed_documents(texts[:64])  # threads and memory are there
    ours, again, floor, peer = [], [], [], []
    for n in range(ROUNDS):
        ours.append(await timed(ingestion.ingest([file], store=store, embedder=embedder, collection=f"bench{n}")))
        again.append(await timed(ingestion.ingest([file], store=store, embedder=embedder, collection=f"bench{n}")))
        floor.append(await timed(embed(embedder, texts)))
        if (seconds := await langchain(records, embedder, owner, n)) is not None:
            peer.append(seconds)
        print(f"round {n + 1}: ours {ours[-1]:.1f} s, again {again[-1]:.2f} s, floor {floor[-1]:.1f} s", flush=True)
    chunks = len(texts)
    medians = {"ours": statistics.median(ours), "again": statistics.median(again), "floor": statistics.median(floor)}
    if peer:
        medians["langchain"] = statistics.median(peer)
    rows: list[dict[str, object]] = [
        {"what": name, "seconds": round(seconds, 2), "chunks_per_s": round(chunks / seconds, 1)}
        for name, seconds in medians.items()
    ]
    ratio = {
        "what": "ratios",
        "of_the_floor": round(medians["floor"] / medians["ours"], 3),
        "second_run_faster": round(medians["ours"] / medians["again"], 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    rows.append(ratio)
    for row in rows:
        print(row)
    return rows


def texts_of(records: Sequence[dict[str, Any]], embedder: Embedder) -> list[str]:
    """What ours embeds, so that the floor embeds the same."""
    config = RAGConfig()
    cut = by_structure(config.chunk_size, config.chunk_overlap)
    chunker = Chunker(cut, embedder.count_tokens, embedder.max_tokens)
    texts = []
    for record in records:
        for chunk in chunker.split([TextBlock(record["text"])]):
            titled = text_to_embed(record["title"], chunk)
            texts.append(titled if embedder.count_tokens([titled])[0] <= embedder.max_tokens else chunk.text)
    return texts


async def embed(embedder: Embedder, texts: Sequence[str]) -> None:
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), FLOOR_BATCH):
        await embedder.embed_documents(ordered[start : start + FLOOR_BATCH])


async def langchain(records: Sequence[dict[str, Any]], embedder: Embedder, owner: str, number: int) -> float | None:
    """LangChain's splitter and PGVectorStore; None where they are not installed."""
    try:
        from langchain_core.documents import Document
        from langchain_core.embeddings import Embeddings
        from langchain_postgres import PGEngine, PGVectorStore
        from langchain_text_splitters import RecursiveCharacterTextSplitter
    except ImportError:
        print("langchain-postgres or langchain-text-splitters is not installed and left out", file=sys.stderr)
        return None

    class Encoder(Embeddings):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            cut = [within(embedder, text) for text in texts]  # its chunks may be longer than the encoder takes
            vectors: list[list[float]] = (await embedder.embed_documents(cut)).tolist()
            return vectors

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        def embed_query(self, text: str) -> list[float]:
            raise NotImplementedError

    url = owner.replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = PGEngine.from_connection_string(url=url)
    try:
        await engine.ainit_vectorstore_table(table_name=f"peer{number}", vector_size=embedder.dimension)
        store = await PGVectorStore.create(engine, Encoder(), table_name=f"peer{number}")
        splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
        started = time.perf_counter()
        documents = [Document(record["text"], metadata={"title": record["title"]}) for record in records]
        await store.aadd_documents(splitter.split_documents(documents))
        return time.perf_counter() - started
    finally:
        await engine.close()


async def timed(work: Any) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started
