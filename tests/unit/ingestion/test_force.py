"""A forced run takes unchanged documents again, and loses none that it cannot take."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.errors import Conflict, StoreUnavailable
from ragents.ingestion import IngestReport, ingest
from ragents.principal import Principal
from ragents.rag.store import StoreConfig, Upserted, VectorStore, open_store
from ragents.rag.types import Document
from tests import files


class Mended(HashingEmbedder):
    """The same model with other vectors, as after a fault in the weights was mended."""

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return -await super().embed_documents(texts)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, migrated: str) -> AsyncIterator[VectorStore]:
    async with open_store(StoreConfig(backend=request.param), dsn=migrated) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nThe text of {name}.\n")
    return tmp_path


async def run(folder: Path, store: VectorStore, principal: Principal, *, force: bool = True) -> IngestReport:
    return await ingest([folder], store=store, embedder=HashingEmbedder(), principal=principal, force=force)


async def test_a_document_that_cannot_be_read_any_more_stays(
    store: VectorStore, folder: Path, principal: Principal
) -> None:
    files.make_pdf(folder / "c.pdf", ["About apples"])
    await run(folder, store, principal)
    (folder / "c.pdf").write_bytes(b"%PDF-1.4 garbage")
    for name in ("a", "b"):
        (folder / f"{name}.md").unlink()
    report = await run(folder, store, principal)
    assert (report.replaced, len(report.failures)) == (0, 1)
    assert {each.version for each in await store.documents(principal=principal)} == {1}


async def test_another_model_is_refused_as_ever(store: VectorStore, folder: Path, principal: Principal) -> None:
    await run(folder, store, principal)
    with pytest.raises(Conflict, match="hashing-64"):
        await ingest([folder], store=store, embedder=HashingEmbedder(dimension=64), principal=principal, force=True)
    assert {each.version for each in await store.documents(principal=principal)} == {1}


async def test_a_run_that_is_cut_off_is_gone_on_with_by_forcing_again(
    store: VectorStore, folder: Path, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(folder, store, principal)
    real = store.upsert
    taken: list[str] = []

    async def once(document: Document, *arguments: Any, **options: Any) -> Upserted:
        if taken:
            raise StoreUnavailable("gone")
        taken.append(document.uri)
        return await real(document, *arguments, **options)

    monkeypatch.setattr(store, "upsert", once)
    with pytest.raises(StoreUnavailable):
        await run(folder, store, principal)
    monkeypatch.setattr(store, "upsert", real)
    assert sorted(each.version for each in await store.documents(principal=principal)) == [1, 2]
    assert (await run(folder, store, principal)).replaced == 2
    assert (await run(folder, store, principal, force=False)).unchanged == 2


async def test_unchanged_documents_are_read_and_embedded_again_in_a_new_version(
    store: VectorStore, folder: Path, principal: Principal
) -> None:
    first = await run(folder, store, principal)
    before = await store.collection("default", principal=principal)
    report = await ingest([folder], store=store, embedder=Mended(), principal=principal, force=True)
    after = await store.collection("default", principal=principal)
    assert (first.created, report.created, report.replaced, report.unchanged) == (2, 0, 2, 0)
    assert (after.documents, after.chunks) == (before.documents, before.chunks)
    assert after.epoch > before.epoch
    stored = await store.stored_chunks(f"{folder.name}/a.md", principal=principal, collection="default")
    assert stored is not None
    (vector,) = await HashingEmbedder().embed_documents([stored.chunks[0].text])
    assert float(stored.vectors[0] @ vector) == pytest.approx(-1.0, abs=1e-3), "no vector of before is taken over"
