"""An ingestion that is killed at any point leaves whole documents, and the next run takes the rest, once."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ragents.config import RAGConfig
from ragents.embeddings.hashing import HashingEmbedder
from ragents.ingestion import ingest
from ragents.principal import Principal
from ragents.rag.store import StoreConfig, open_store

DOCUMENTS = 300
PROGRAM = """
import asyncio, sys
from pathlib import Path
from ragents.embeddings.hashing import HashingEmbedder
from ragents.ingestion import ingest
from ragents.principal import Principal
from ragents.rag.store import StoreConfig, open_store

async def main(dsn, folder, tenant):
    async with open_store(StoreConfig(), dsn=dsn) as store:
        await ingest(
            [Path(folder)], store=store, embedder=HashingEmbedder(), principal=Principal(tenant=tenant),
            on_progress=lambda progress: print(progress.outcome, flush=True),
        )

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of one document and of many, short and long."""
    chance = random.Random(5)
    words = ["lease", "agent", "encoder", "batch", "passage", "vector", "store", "answer", "thread", "index"]

    def text() -> str:
        return " ".join(chance.choices(words, k=chance.randint(20, 3_000)))

    lines = [json.dumps({"_id": str(n), "text": text()}) for n in range(DOCUMENTS // 2)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    for n in range(DOCUMENTS // 2):
        (tmp_path / f"{n:03}.md").write_text(f"# Document {n}\n\n{text()}")
    return tmp_path


def killed_after(documents: int, dsn: str, folder: Path, tenant: str) -> int:
    """How many it said were created."""
    command = [sys.executable, "-c", PROGRAM, dsn, str(folder), tenant]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        created = 0
        for line in process.stdout:
            created += line.startswith("created")
            if created == documents:
                process.kill()
                break
        created += sum(line.startswith("created") for line in process.stdout)
    return created


async def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    folder: Path, migrated: str, principal: Principal
) -> None:
    told = [killed_after(documents, migrated, folder, principal.tenant) for documents in (1, 40, 2, 90)]
    unbroken = Principal(tenant=f"{principal.tenant}-unbroken")
    async with open_store(StoreConfig(), dsn=migrated) as store:
        there = await store.documents(principal=principal, limit=DOCUMENTS)
        assert len(there) >= sum(told), "what was reported as stored is stored"
        assert await store.count(principal=principal) == sum(each.chunks for each in there), "whole documents only"
        embedder = HashingEmbedder()
        rest = await ingest([folder], store=store, embedder=embedder, principal=principal)
        assert (rest.created, rest.unchanged, rest.failures) == (DOCUMENTS - len(there), len(there), [])
        await ingest([folder], store=store, embedder=embedder, principal=unbroken)
        found, wanted = [
            {each.uri: each.chunks for each in await store.documents(principal=who, limit=2 * DOCUMENTS)}
            for who in (principal, unbroken)
        ]
        assert found == wanted
        assert await store.count(principal=principal) == sum(wanted.values())
        states = [await store.collection(RAGConfig().collection, principal=who) for who in (principal, unbroken)]
        assert (states[0].documents, states[0].chunks) == (states[1].documents, states[1].chunks)
