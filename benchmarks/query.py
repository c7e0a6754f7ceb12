"""POST /query without a cache: ours beside LangChain + FastAPI on the same Postgres, encoder and model, interleaved.

The model is benchmarks/mock_llm, in a process of its own, with fixed times; asked by itself it is the floor. Questions
are SciFact's, over its first documents. A client that is refused (429) waits as long as it is told and asks again.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ingest import texts_of
from benchmarks.load import ask
from benchmarks.servers import BENTOML, Process, process
from ragents import ingestion
from ragents.deployment.app import APP_ROLE, migrate_all
from ragents.embedded import open_postgres
from ragents.embeddings import EmbeddingConfig, open_embedder
from ragents.rag.store import open_store
from ragents.rag.store.types import StoreConfig

DOCUMENTS = 300
CLIENTS = (1, 32, 200, 1000)
SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
FIRST_TOKEN_S, BETWEEN_TOKENS_S = 0.2, 0.01
ANSWER = "The passages say that it does so in most of the cases that were looked at, and more so with age. [1]"


def run() -> list[dict[str, object]]:
    return on_scifact(measure)


def on_scifact(measure: Callable[[Path], Coroutine[Any, Any, list[dict[str, object]]]]) -> list[dict[str, object]]:
    """The rows that `measure` gives for SciFact's folder; none where that is not there."""
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / "scifact"
    if not folder.is_dir():
        print(f"{folder} is not there; set BENCH_DATA to the folder that holds scifact", file=sys.stderr)
        return []
    return asyncio.run(measure(folder))


async def measure(folder: Path) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="rb-") as directory, ExitStack() as servers:
        home = Path(directory)
        home.chmod(0o755)
        async with loaded(home, folder) as owner:
            mock = servers.enter_context(process([sys.executable, "-m", "benchmarks.mock_llm", *MOCK_ARGUMENTS]))
            llm = f"http://127.0.0.1:{mock.port}/v1"
            settings = home / "settings.yaml"
            settings.write_text(yaml.safe_dump(settings_of(owner, llm)))
            ours = servers.enter_context(process(BENTOML, RAGENTS_CONFIG=str(settings), RAGENTS_HOME=str(home)))
            dsn = owner.replace("postgresql://", "postgresql+asyncpg://", 1)
            peer = servers.enter_context(
                process([sys.executable, "-m", "uvicorn", "benchmarks.query_peer:app"], PEER_DSN=dsn, PEER_LLM=llm)
            )
            asked = questions(folder)
            return await compare(mock, ours, peer, asked)


async def compare(mock: "Process", ours: "Process", peer: "Process", asked: Sequence[str]) -> list[dict[str, object]]:
    def body(number: int) -> dict[str, Any]:
        query = f"{asked[number % len(asked)]} ({number})"  # no two alike: no cache of anybody's answers
        return {"query": query, "use_cache": False}

    def bare(number: int) -> dict[str, Any]:
        return {"model": "mock", "stream": True, "messages": [{"role": "user", "content": body(number)["query"]}]}

    systems = {
        "the model alone": (mock, "/v1/chat/completions", bare),
        "ragents": (ours, "/query", body),
        "LangChain + FastAPI": (peer, "/query", body),
    }
    for server, path, what in systems.values():
        await ask(f"{server.url}{path}", what, clients=8, seconds=3)  # connections, threads and plans are there
    rows: list[dict[str, object]] = []
    print(f"{'':22}{'clients':>8}{'200s/s':>8}{'p50 ms':>8}{'p95 ms':>8}{'429':>6}{'failed':>8}{'CPU ms/answer':>15}")
    for clients in CLIENTS:
        for name, (server, path, what) in systems.items():
            before = server.cpu_ms()
            found = (await ask(f"{server.url}{path}", what, clients=clients, seconds=SECONDS)).row()
            spent = (server.cpu_ms() - before) / max(1, int(found["answers"]))
            row = {"name": name, "clients": clients, **found, "cpu_ms_per_answer": round(spent, 1)}
            rows.append(row)
            print(
                f"{name:22}{clients:>8}{row['per_s']:>8}{row['p50_ms'] or 0:>8}{row['p95_ms'] or 0:>8}"
                f"{row['refused']:>6}{row['failed']:>8}{row['cpu_ms_per_answer']:>15}",
                flush=True,
            )
            await asyncio.sleep(2)  # what was under way ends
    return [*rows, summary(rows)]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, object]:
    def of(name: str, clients: int) -> dict[str, Any]:
        return next(row for row in rows if (row["name"], row["clients"]) == (name, clients))

    ours = "ragents"
    found = {
        "name": "summary",
        "added_p50_ms_at_1": of(ours, 1)["p50_ms"] - of("the model alone", 1)["p50_ms"],
        "failed_at_1000": of(ours, 1000)["failed"],
        "per_s_at_1000_of_200": round(of(ours, 1000)["per_s"] / of(ours, 200)["per_s"], 2),
        "per_s_of_peer_at_32": round(of(ours, 32)["per_s"] / of("LangChain + FastAPI", 32)["per_s"], 2),
        "per_s_of_peer_at_200": round(of(ours, 200)["per_s"] / of("LangChain + FastAPI", 200)["per_s"], 2),
    }
    print(found)
    return found


MOCK_ARGUMENTS = (
    "--content",
    ANSWER,
    "--first-token-s",
    str(FIRST_TOKEN_S),
    "--between-tokens-s",
    str(BETWEEN_TOKENS_S),
)


def settings_of(owner: str, llm: str) -> dict[str, Any]:
    return {
        "store": {"dsn": owner.replace("://postgres@", f"://{APP_ROLE}@", 1), "migrate_dsn": owner},
        "llm": {"provider": "openai", "base_url": llm, "model_name": "mock"},
        "rag": {"min_confidence": 0.0},
    }


def questions(folder: Path) -> list[str]:
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        return [str(json.loads(line)["text"]) for line in lines]


@asynccontextmanager
async def loaded(home: Path, folder: Path) -> AsyncIterator[str]:
    """A Postgres with the documents twice: as ours stores them, and in the peer's table with the same vectors."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_postgres import PGEngine, PGVectorStore

    from benchmarks.query_peer import TABLE

    with (folder / "corpus.jsonl").open("rb") as lines:
        records = list(islice(lines, DOCUMENTS))
    file = home / "corpus.jsonl"
    file.write_bytes(b"".join(records))
    async with open_postgres(home / "postgres") as owner, open_embedder(EmbeddingConfig()) as embedder:
        dsn = owner.replace("://postgres@", f"://{APP_ROLE}@", 1)
        await migrate_all(owner, dsn=dsn)
        async with open_store(StoreConfig(), dsn=dsn) as store:
            await ingestion.ingest([file], store=store, embedder=embedder)
        texts = texts_of([json.loads(line) for line in records], embedder)
        vectors = (await embedder.embed_documents(texts)).tolist()
        engine = PGEngine.from_connection_string(url=owner.replace("postgresql://", "postgresql+asyncpg://", 1))
        await engine.ainit_vectorstore_table(table_name=TABLE, vector_size=embedder.dimension)
        unused = DeterministicFakeEmbedding(size=embedder.dimension)  # vectors are given
        peer = await PGVectorStore.create(engine, unused, table_name=TABLE)
        await peer.aadd_embeddings(texts, vectors, metadatas=[{"n": n} for n in range(len(texts))])
        await engine.close()
        yield owner
