"""From files to searchable chunks: load and cut, embed, store; the stages overlap over bounded queues."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ragents.config.rag_config import RAGConfig
from ragents.embeddings.types import Embedder, Vectors
from ragents.errors import Conflict, DocumentError, InputError, NotFound, RAGentsError, TextTooLong
from ragents.ingestion.discover import Found, discover
from ragents.ingestion.types import Failure, IngestReport, OnProgress, Outcome, Progress
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.chunking import MarkdownChunker
from ragents.rag.loaders import LoadedDocument, LoadLimits, load
from ragents.rag.store.types import VectorStore
from ragents.rag.types import Chunk, Document

log = logging.getLogger(__name__)
T = TypeVar("T")

LOADER_VERSION = 2
"""Part of every content hash: documents are taken anew when loaders or chunking change what comes out."""
LOADERS = 2
QUEUE = 4
MAX_CHUNKS_PER_DOCUMENT = 50_000
HEAD = 500
"""Characters of a chunk in which its own heading is looked for."""
EMBED_CHUNKS = 256
"""Texts handed to the encoder at once: enough to sort by length, few enough that a question gets its turn."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut into chunks."""

    document: Document
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True)
class Embedded:
    prepared: Prepared
    vectors: Vectors


async def ingest(
    paths: Sequence[Path],
    *,
    store: VectorStore,
    embedder: Embedder,
    config: RAGConfig | None = None,
    collection: str | None = None,
    principal: Principal = ANONYMOUS,
    limits: LoadLimits | None = None,
    on_progress: OnProgress | None = None,
) -> IngestReport:
    """Take files and directories. A bad document is named in the report and the run goes on.

    Unchanged documents (content, model, chunk sizes) are skipped before they are read. Raises InputError for a path
    that is not there, Conflict for a collection of another model, StoreUnavailable; what was stored until then stays,
    whole documents only.
    """
    run = _Run(
        store=store,
        embedder=embedder,
        config=config or RAGConfig(),
        collection=collection or (config or RAGConfig()).collection,
        principal=principal,
        limits=limits or LoadLimits(),
        on_progress=on_progress,
    )
    return await run.all(paths)


def text_to_embed(title: str, chunk: Chunk) -> str:
    """A chunk as the encoder sees it: under its title and headings, which say what a passage from the middle is about.

    Names that the chunk begins with are not repeated.
    """
    path = list(dict.fromkeys(name for name in (title, *chunk.headings) if name))
    begin = chunk.text[:HEAD].lstrip("# ")
    header = " > ".join(name for name in path if not begin.startswith(name))
    return f"{header}\n{chunk.text}" if header else chunk.text


class _Run:
    """One ingestion. Each stage is a task; a bounded queue lies between two of them."""

    def __init__(
        self,
        *,
        store: VectorStore,
        embedder: Embedder,
        config: RAGConfig,
        collection: str,
        principal: Principal,
        limits: LoadLimits,
        on_progress: OnProgress | None,
    ) -> None:
        self._store, self._embedder, self._principal = store, embedder, principal
        self._collection, self._limits, self._on_progress = collection, limits, on_progress
        self._chunker = MarkdownChunker(
            embedder.count_tokens, embedder.max_tokens, config.chunk_size, config.chunk_overlap
        )
        shape = f"{LOADER_VERSION}\n{embedder.model}\n{config.chunk_size}\n{config.chunk_overlap}"
        self._shape = hashlib.sha256(shape.encode()).hexdigest()
        self._report = IngestReport()
        self._files_done = 0
        self._known: dict[str, str] = {}
        self._to_embed: asyncio.Queue[Prepared | None] = asyncio.Queue(QUEUE)
        self._to_store: asyncio.Queue[Embedded | None] = asyncio.Queue(QUEUE)

    async def all(self, paths: Sequence[Path]) -> IngestReport:
        started = time.perf_counter()
        files, self._report.skipped = await asyncio.to_thread(discover, paths)
        self._report.files = len(files)
        await self._check_model()
        self._known = await self._store.content_hashes(principal=self._principal, collection=self._collection)
        async with self._store.bulk(principal=self._principal, collection=self._collection):
            try:
                async with asyncio.TaskGroup() as stages:
                    stages.create_task(self._load_all(files))
                    stages.create_task(self._embed_all())
                    stages.create_task(self._store_all())
            except* RAGentsError as group:
                # What ends a run (the store is gone) is one error, whichever stages met it.
                raise group.exceptions[0] from None
        self._report.seconds = time.perf_counter() - started
        return self._report

    async def _check_model(self) -> None:
        """Before anything is read: every document would fail alike."""
        try:
            stored = await self._store.collection(self._collection, principal=self._principal)
        except NotFound:
            return
        if stored.embedding_model != self._embedder.model:
            raise Conflict(
                f"collection {self._collection!r} was made with {stored.embedding_model!r}, and the encoder is "
                f"{self._embedder.model!r}; use another --collection, or set rag.embedding_model to the first"
            )

    # Load and cut

    async def _load_all(self, files: Sequence[Found]) -> None:
        waiting = iter(files)

        async def loader() -> None:
            for file in waiting:
                await self._load_file(file)

        async with asyncio.TaskGroup() as loaders:
            for _ in range(LOADERS):
                loaders.create_task(loader())
        await self._to_embed.put(None)

    async def _load_file(self, file: Found) -> None:
        try:
            digest = await asyncio.to_thread(_digest, file.path)
        except OSError as error:
            self._fail(DocumentError(file.uri, "unreadable", error.strerror or str(error)), last_of_file=True)
            return
        content_hash = self._hash(digest)
        if self._known.get(file.uri) == content_hash:
            self._done(file.uri, "unchanged", last_of_file=True)
            return
        documents = load(file.path, uri=file.uri, limits=self._limits)
        last_uri = file.uri
        try:
            while (loaded := await self._timed("load", lambda: next(documents, None))) is not None:
                last_uri = loaded.uri
                if isinstance(loaded, DocumentError):
                    self._fail(loaded)
                    continue
                await self._prepare(loaded, self._hash(loaded.digest) if loaded.digest else content_hash, file)
        except DocumentError as error:
            self._fail(error, last_of_file=True)
            return
        except (ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            # A surprise of the chunking's libraries is news about this document, not the end of the run.
            log.warning("%s could not be cut", last_uri, exc_info=error)
            detail = f"{type(error).__name__} while it was cut: {error}"[:200]
            self._fail(DocumentError(last_uri, "damaged", detail), last_of_file=True)
            return
        except TimeoutError:
            self._fail(
                DocumentError(last_uri, "unreadable", f"not read within {self._limits.timeout_s:g} s"),
                last_of_file=True,
            )
            return
        self._files_done += 1

    async def _prepare(self, loaded: LoadedDocument, content_hash: str, file: Found) -> None:
        if self._known.get(loaded.uri) == content_hash:
            self._done(loaded.uri, "unchanged", last_of_file=False)
            return
        try:
            chunks = await self._timed("load", lambda: self._cut(loaded))
        except DocumentError as error:
            if loaded.digest is None:
                raise
            self._fail(error)  # one of many in its file: the others are read
            return
        document = Document(
            uri=loaded.uri,
            title=loaded.title,
            format=loaded.format,
            content_hash=content_hash,
            size_bytes=file.path.stat().st_size if loaded.digest is None else sum(len(chunk.text) for chunk in chunks),
            metadata=loaded.metadata,
        )
        await self._to_embed.put(Prepared(document, chunks))

    def _cut(self, loaded: LoadedDocument) -> list[Chunk]:
        chunks = []
        for chunk in self._chunker.split(loaded.blocks):
            chunks.append(chunk)
            if len(chunks) > MAX_CHUNKS_PER_DOCUMENT:
                raise DocumentError(loaded.uri, "too_large", f"more than {MAX_CHUNKS_PER_DOCUMENT} chunks")
        return chunks

    # Embed

    async def _embed_all(self) -> None:
        while (prepared := await self._to_embed.get()) is not None:
            started = time.perf_counter()
            try:
                vectors = await self._embed(prepared)
            except TextTooLong as error:
                self._fail(error, uri=prepared.document.uri)
                continue
            finally:
                self._report.stage_s["embed"] += time.perf_counter() - started
            await self._to_store.put(Embedded(prepared, vectors))
        await self._to_store.put(None)

    async def _embed(self, prepared: Prepared) -> Vectors:
        texts = await asyncio.to_thread(self._texts, prepared)
        parts = [
            await self._embedder.embed_documents(texts[start : start + EMBED_CHUNKS])
            for start in range(0, len(texts), EMBED_CHUNKS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._embedder.dimension), np.float32)

    def _texts(self, prepared: Prepared) -> list[str]:
        """Under the title where the encoder has room for it."""
        titled = [text_to_embed(prepared.document.title, chunk) for chunk in prepared.chunks]
        counts = self._embedder.count_tokens(titled)
        return [
            text if tokens <= self._embedder.max_tokens else chunk.text
            for text, tokens, chunk in zip(titled, counts, prepared.chunks, strict=True)
        ]

    # Store

    async def _store_all(self) -> None:
        while (embedded := await self._to_store.get()) is not None:
            started = time.perf_counter()
            document = embedded.prepared.document
            try:
                stored = await self._store.upsert(
                    document,
                    embedded.prepared.chunks,
                    embedded.vectors,
                    principal=self._principal,
                    collection=self._collection,
                    embedding_model=self._embedder.model,
                )
            except (Conflict, InputError) as error:
                self._fail(error, uri=document.uri)
                continue
            finally:
                self._report.stage_s["store"] += time.perf_counter() - started
            self._report.count(stored)
            self._tell(document.uri, stored.outcome)

    # Counting

    def _done(self, uri: str, outcome: Outcome, *, last_of_file: bool) -> None:
        self._report.unchanged += 1
        self._files_done += last_of_file
        self._tell(uri, outcome)

    def _fail(self, error: RAGentsError, *, uri: str = "", last_of_file: bool = False) -> None:
        if isinstance(error, DocumentError):
            failure = Failure(error.uri, error.reason, error.detail)
        else:
            failure = Failure(uri, error.code, str(error))
        self._report.failures.append(failure)
        self._files_done += last_of_file
        self._tell(failure.uri, "failed")

    def _tell(self, uri: str, outcome: Outcome) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._report.files, self._files_done, self._report.chunks, uri, outcome))

    async def _timed(self, stage: str, work: Callable[[], T]) -> T:
        """In a thread, within the time for one document. A thread that hangs cannot be ended; it is left behind."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await asyncio.to_thread(work)
        finally:
            self._report.stage_s[stage] += time.perf_counter() - started

    def _hash(self, digest: str) -> str:
        return hashlib.sha256(f"{digest}\n{self._shape}".encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
