"""A run takes what it can, skips what it has, names the rest, and leaves whole documents only."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ragents.config import RAGConfig
from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.errors import Conflict, InputError, StoreUnavailable, TextTooLong
from ragents.ingestion import IngestReport, Progress, embedding, ingest, loading
from ragents.principal import ANONYMOUS
from ragents.rag.loaders import LoadLimits
from ragents.rag.store.memory import MemoryVectorStore
from ragents.rag.types import Chunk
from tests import files

EMBEDDER = HashingEmbedder()


async def run(*paths: Path, store: MemoryVectorStore, **options: object) -> IngestReport:
    return await ingest(list(paths), store=store, embedder=EMBEDDER, **options)  # type: ignore[arg-type]


@pytest.fixture
def store() -> MemoryVectorStore:
    return MemoryVectorStore()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "handbook"
    (directory / "sub" / ".git").mkdir(parents=True)
    (directory / "a.md").write_text("# Alpha\n\nThe alpha text.\n")
    (directory / "sub" / "b.txt").write_text("The beta text.")
    (directory / "sub" / "broken.pdf").write_bytes(b"%PDF-1.4 garbage")
    (directory / "program.exe").write_bytes(b"MZ")
    (directory / "sub" / ".git" / "config.md").write_text("not a document")
    return directory


async def test_a_path_that_is_not_there_is_an_input_error(store: MemoryVectorStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        await run(tmp_path / "nowhere", store=store)


async def test_a_collection_of_another_model_is_refused_before_anything_is_read(
    store: MemoryVectorStore, folder: Path
) -> None:
    await run(folder, store=store)
    with pytest.raises(Conflict, match=r"hashing-384.*hashing-64"):
        await ingest([folder], store=store, embedder=HashingEmbedder(dimension=64))


async def test_what_cannot_be_read_is_named_and_the_rest_is_taken(store: MemoryVectorStore, folder: Path) -> None:
    report = await run(folder, store=store)
    assert (report.files, report.created, report.chunks) == (3, 2, 2)
    assert [(f.uri, f.reason) for f in report.failures] == [("handbook/sub/broken.pdf", "damaged")]
    assert report.skipped == {".exe": 1}
    uris = {d.uri for d in await store.documents(principal=ANONYMOUS)}
    assert uris == {"handbook/a.md", "handbook/sub/b.txt"}


async def test_uris_do_not_depend_on_the_working_directory(
    store: MemoryVectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(folder, store=store)
    monkeypatch.chdir(folder.parent)
    assert (await run(Path("handbook"), store=store)).unchanged == 2
    monkeypatch.chdir(folder)
    assert (await run(Path(), store=store)).unchanged == 2


async def test_a_second_run_reads_nothing(
    store: MemoryVectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(folder / "a.md", store=store)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("an unchanged file was read")

    monkeypatch.setattr(loading, "load", never)
    assert (await run(folder / "a.md", store=store)).unchanged == 1


async def test_a_changed_file_is_replaced(store: MemoryVectorStore, folder: Path) -> None:
    await run(folder, store=store)
    (folder / "a.md").write_text("# Alpha\n\nA new alpha text.\n")
    report = await run(folder, store=store)
    assert (report.replaced, report.unchanged) == (1, 1)
    assert await store.count(principal=ANONYMOUS) == 2


class Counting(HashingEmbedder):
    """Keeps the texts of each call."""

    def __init__(self, *, salt: str = "") -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self._salt = salt

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        await asyncio.sleep(0.005)
        salted = [" ".join(self._salt + word for word in text.split()) for text in texts] if self._salt else texts
        return await super().embed_documents(salted)

    @property
    def texts(self) -> list[str]:
        return [text for call in self.calls for text in call]


def sections(changed: int | None = None) -> str:
    return "\n\n".join(
        f"## Section {n}\n\n{'A new wording. ' if n == changed else ''}" + f"Sentence {n} of the handbook. " * 30
        for n in range(8)
    )


async def test_of_a_changed_document_only_what_is_new_is_embedded(store: MemoryVectorStore, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(sections())
    await run(file, store=store)
    file.write_text(sections(changed=3))
    embedder = Counting()
    report = await ingest([file], store=store, embedder=embedder)
    assert report.replaced == 1
    assert len([text for text in embedder.texts if "new wording" in text]) == 1
    assert len(embedder.texts) == 2, "the new one, and one that proves the old ones"
    held, fresh = MemoryVectorStore(), await store.stored_chunks("a.md", principal=ANONYMOUS, collection="default")
    await run(file, store=held)
    whole = await held.stored_chunks("a.md", principal=ANONYMOUS, collection="default")
    assert fresh is not None
    assert whole is not None
    assert np.array_equal(fresh.vectors, whole.vectors)


async def test_vectors_that_the_encoder_would_not_give_again_are_not_kept(
    store: MemoryVectorStore, tmp_path: Path
) -> None:
    file = tmp_path / "a.md"
    file.write_text(sections())
    await ingest([file], store=store, embedder=Counting(salt="other"))
    file.write_text(sections(changed=3))
    await run(file, store=store)
    stored = await store.stored_chunks("a.md", principal=ANONYMOUS, collection="default")
    held = MemoryVectorStore()
    await run(file, store=held)
    whole = await held.stored_chunks("a.md", principal=ANONYMOUS, collection="default")
    assert stored is not None
    assert whole is not None
    assert np.array_equal(stored.vectors, whole.vectors)


async def test_small_documents_share_a_call_of_the_encoder(store: MemoryVectorStore, tmp_path: Path) -> None:
    lines = [f'{{"_id": "{n}", "text": "document {n} of many"}}' for n in range(400)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    embedder = Counting()
    assert (await ingest([tmp_path], store=store, embedder=embedder)).created == 400
    assert len(embedder.calls) < 300


async def test_a_text_that_the_encoder_refuses_costs_its_document_alone(store: MemoryVectorStore, folder: Path) -> None:
    class Refusing(HashingEmbedder):
        async def embed_documents(self, texts: Sequence[str]) -> Vectors:
            for index, text in enumerate(texts):
                if "beta" in text:
                    raise TextTooLong(tokens=9, max_tokens=8, index=index)
            return await super().embed_documents(texts)

    report = await ingest([folder], store=store, embedder=Refusing())
    assert report.created == 1
    assert ("handbook/sub/b.txt", "text_too_long") in [(f.uri, f.reason) for f in report.failures]


async def test_another_chunk_size_takes_everything_anew(store: MemoryVectorStore, folder: Path) -> None:
    await run(folder, store=store)
    report = await run(folder, store=store, config=RAGConfig(chunk_size=500, chunk_overlap=50))
    assert report.replaced == 2


async def test_lines_of_jsonl_are_documents_that_are_skipped_one_by_one(
    store: MemoryVectorStore, tmp_path: Path
) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n')
    assert (await run(file, store=store)).created == 2
    file.write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "changed"}\n')
    report = await run(file, store=store)
    assert (report.unchanged, report.replaced) == (1, 1)


async def test_a_bad_line_of_jsonl_is_named_and_the_others_are_stored(store: MemoryVectorStore, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": " "}\nnonsense\n{"_id": "4", "text": "four"}\n')
    report = await run(file, store=store)
    assert report.created == 2
    assert [(f.uri, f.reason) for f in report.failures] == [("c.jsonl#2", "empty"), ("c.jsonl#3", "unsupported")]
    assert (await run(file, store=store)).unchanged == 2, "and the file is not taken for done"


async def test_a_document_that_takes_too_long_is_named_and_the_run_goes_on(
    store: MemoryVectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ended = loading.load, threading.Event()

    def slow(path: Path, **options: object) -> object:
        if path.name == "a.md":
            ended.wait(60)
        return real(path, **options)  # type: ignore[arg-type]

    def lazily(path: Path, **options: object) -> object:
        yield from slow(path, **options)  # type: ignore[misc]

    monkeypatch.setattr(loading, "load", lazily)
    report = await run(folder, store=store, limits=LoadLimits(timeout_s=2))
    ended.set()
    assert ("handbook/a.md", "unreadable") in [(f.uri, f.reason) for f in report.failures]
    assert report.created == 1


async def test_a_store_that_goes_away_ends_the_run_with_its_error(
    store: MemoryVectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store, "upsert", down)
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(10):
            await run(folder, store=store)


async def test_cancelling_leaves_whole_documents(store: MemoryVectorStore, tmp_path: Path) -> None:
    for n in range(50):
        (tmp_path / f"{n:02}.md").write_text(f"# Document {n}\n\n" + "Some words here. " * 200)
    started = asyncio.Event()
    task = asyncio.create_task(run(tmp_path, store=store, on_progress=lambda _: started.set()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    documents = await store.documents(principal=ANONYMOUS)
    assert 0 < len(documents) <= 50
    assert await store.count(principal=ANONYMOUS) == sum(d.chunks for d in documents)


async def test_progress_never_falls_and_ends_at_all_files(store: MemoryVectorStore, folder: Path) -> None:
    seen: list[Progress] = []
    await run(folder, store=store, on_progress=seen.append)
    assert [p.files for p in seen] == [3] * 3
    assert [p.files_done for p in seen] == sorted(p.files_done for p in seen)
    assert {p.outcome for p in seen} == {"created", "failed"}


async def test_every_format_is_found_with_its_page(store: MemoryVectorStore, tmp_path: Path) -> None:
    files.make_pdf(tmp_path / "a.pdf", ["About apples", "Walruses weigh nine hundred kilograms"])
    files.make_docx(tmp_path / "b.docx")
    files.make_pptx(tmp_path / "c.pptx")
    for name in ("xlsx", "odt", "eml", "epub"):
        getattr(files, f"make_{name}")(tmp_path / f"d.{name}")
    report = await run(tmp_path, store=store)
    assert (report.created, report.failures) == (7, [])
    from ragents.rag.engine import RAGEngine

    engine = RAGEngine(embedder=EMBEDDER, store=store)
    for question, suffix, page in (
        ("How much do walruses weigh?", "a.pdf", 2),
        ("How many days of leave?", "b.docx", 2),
        ("By how much percent grew revenue?", "c.pptx", 2),
    ):
        best = (await engine.retrieve(question)).sources[0]
        assert (best.uri.endswith(suffix), best.page) == (True, page)


async def test_two_runs_at_once_agree(store: MemoryVectorStore, folder: Path) -> None:
    await asyncio.gather(run(folder, store=store), run(folder, store=store))
    assert await store.count(principal=ANONYMOUS) == 2


async def test_half_a_character_in_json_does_not_end_the_run(store: MemoryVectorStore, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(
        '{"_id": "1", "text": "good"}\n{"_id": "2", "text": "bad \\ud800 half"}\n{"_id": "3", "text": "good"}\n'
    )
    report = await run(file, store=store)
    assert (report.created, report.failures) == (3, [])


async def test_a_fault_while_cutting_costs_one_document(
    store: MemoryVectorStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loading.Chunker.split

    def split(self: object, blocks: object) -> object:
        blocks = list(blocks)  # type: ignore[call-overload]
        if "alpha" in blocks[0].text:
            raise ZeroDivisionError
        return real(self, blocks)  # type: ignore[arg-type]

    monkeypatch.setattr(loading.Chunker, "split", split)
    report = await run(folder, store=store)
    assert report.created == 1
    assert ("handbook/a.md", "damaged") in [(f.uri, f.reason) for f in report.failures]


async def test_two_directories_that_would_share_uris_are_refused(store: MemoryVectorStore, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "docs").mkdir(parents=True)
        (tmp_path / parent / "docs" / "x.md").write_text(parent)
    with pytest.raises(InputError, match="docs/x.md"):
        await run(tmp_path / "a" / "docs", tmp_path / "b" / "docs", store=store)


@pytest.mark.parametrize(
    ("title", "headings", "text", "embedded"),
    [
        ("Guide", ("Guide", "Cache"), "Entries expire.", "Guide > Cache\nEntries expire."),
        ("Guide", ("Guide", "Cache"), "## Cache\n\nEntries expire.", "Guide\n## Cache\n\nEntries expire."),
        ("Guide", (), "# Guide\n\nWelcome.", "# Guide\n\nWelcome."),
        ("", (), "Alone.", "Alone."),
        ("", ("Cache",), "Entries.", "Cache\nEntries."),
    ],
)
def test_a_chunk_is_embedded_under_its_title_and_headings(
    title: str, headings: tuple[str, ...], text: str, embedded: str
) -> None:
    assert embedding.text_to_embed(title, Chunk(0, text, 0, len(text), headings=headings)) == embedded
