"""From files to searchable chunks: load and cut, embed, store; the stages overlap over bounded pipes."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from ragents.config.rag_config import RAGConfig
from ragents.embeddings.types import Embedder, Vectors, settings_of
from ragents.errors import Conflict, DocumentError, InputError, NotFound, RAGentsError
from ragents.ingestion.discover import Found, discover
from ragents.ingestion.embedding import EMBED_CHUNKS, Embedded, Prepared, embed_together
from ragents.ingestion.known import ChunkCache, KnownVectors
from ragents.ingestion.loading import Loading
from ragents.ingestion.pipe import Pipe
from ragents.ingestion.sentences import embed_sentences
from ragents.ingestion.types import Failure, IngestReport, OnProgress, Outcome, Progress
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.chunking import Chunker, create_chunker
from ragents.rag.loaders import LoadLimits
from ragents.rag.store.types import VectorStore
from ragents.rag.types import Chunk, Document

LOADER_VERSION = 4
"""Part of every content hash: documents are taken anew when loaders or chunking change what comes out."""
PIPE_CHUNKS = 2 * EMBED_CHUNKS
"""That wait between two stages, besides a single larger document."""


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
    force: bool = False,
    cache: ChunkCache | None = None,
) -> IngestReport:
    """Take files and directories. A bad document is named in the report and the run goes on.

    Unchanged documents (content, model, chunk sizes) are skipped before they are read, and of a changed one the chunks
    that come again keep their vectors, as do chunks that `cache` knows, of whatever collection. With `force` all are
    read and embedded again; one that cannot be read any more stays as it was. Raises InputError for a path that is not
    there, Conflict for a collection of another model, StoreUnavailable, BackendUnavailable for a cache that cannot
    forget; what was stored until then stays, whole
    documents only.
    """
    run = _Run(
        store=store,
        embedder=embedder,
        config=config or RAGConfig(),
        collection=collection or (config or RAGConfig()).collection,
        principal=principal,
        on_progress=on_progress,
        force=force,
        cache=cache,
    )
    return await run.all(paths, limits or LoadLimits())


class _Run:
    """One ingestion. Each stage is a task; a bounded pipe lies between two of them."""

    def __init__(
        self,
        *,
        store: VectorStore,
        embedder: Embedder,
        config: RAGConfig,
        collection: str,
        principal: Principal,
        on_progress: OnProgress | None,
        force: bool,
        cache: ChunkCache | None,
    ) -> None:
        self._store, self._embedder, self._config, self._principal = store, embedder, config, principal
        self._collection, self._on_progress, self._force = collection, on_progress, force
        self._made_before = None if cache is None else KnownVectors(cache, embedder, anew=force)
        self._report = IngestReport()
        self._files_done = 0
        self._known: dict[str, str] = {}
        self._to_embed: Pipe[Prepared] = Pipe(PIPE_CHUNKS, lambda each: max(1, len(each.chunks)))
        self._to_store: Pipe[Embedded] = Pipe(PIPE_CHUNKS, lambda each: max(1, len(each.vectors)))

    async def all(self, paths: Sequence[Path], limits: LoadLimits) -> IngestReport:
        started = time.perf_counter()
        files, self._report.skipped = await asyncio.to_thread(discover, paths)
        self._report.files = len(files)
        await self._check_model()
        if not self._force:
            self._known = await self._store.content_hashes(principal=self._principal, collection=self._collection)
        async with self._store.bulk(principal=self._principal, collection=self._collection):
            try:
                async with asyncio.TaskGroup() as stages:
                    stages.create_task(self._load_all(files, limits))
                    stages.create_task(self._embed_all())
                    stages.create_task(self._store_all())
            except* RAGentsError as group:
                # What ends a run (the store is gone) is one error, whichever stages met it.
                raise group.exceptions[0] from None
        if self._config.sentence_vectors:
            await self._embed_sentences()
        self._report.seconds = time.perf_counter() - started
        return self._report

    async def _embed_sentences(self) -> None:
        started = time.perf_counter()
        await embed_sentences(self._store, self._embedder, principal=self._principal, collection=self._collection)
        self._report.stage_s["sentences"] = time.perf_counter() - started

    async def _check_model(self) -> None:
        """Before anything is read: every document would fail alike."""
        try:
            stored = await self._store.collection(self._collection, principal=self._principal)
        except NotFound:
            return
        if stored.embedding_model != self._embedder.model:
            raise Conflict(
                f"collection {self._collection!r} was made with {stored.embedding_model!r}, and the encoder is "
                f"{self._embedder.model!r}; move it with `ragents reembed`, use another --collection, or set "
                f"{settings_of(stored.embedding_model)}"
            )

    async def _load_all(self, files: Sequence[Found], limits: LoadLimits) -> None:
        config = self._config
        shape = (LOADER_VERSION, self._embedder.model, config.chunking, config.chunk_size, config.chunk_overlap)
        loading = Loading(
            chunker=self._chunker(),
            limits=limits,
            known=self._known,
            shape=hashlib.sha256("\n".join(map(str, shape)).encode()).hexdigest(),
            told=self,
            give=self._prepared,
        )
        await loading.all(files)
        await self._to_embed.close()

    def _chunker(self) -> Chunker:
        loop = asyncio.get_running_loop()

        def embed(texts: Sequence[str]) -> Vectors:
            """From a loader's thread."""
            return asyncio.run_coroutine_threadsafe(self._embedder.embed_documents(texts), loop).result()

        return create_chunker(
            self._config,
            count_tokens=self._embedder.count_tokens,
            max_tokens=self._embedder.max_tokens,
            embed=embed,
        )

    async def _prepared(self, document: Document, chunks: list[Chunk]) -> None:
        before = None
        if document.uri in self._known:
            before = await self._store.stored_chunks(
                document.uri, principal=self._principal, collection=self._collection
            )
        await self._to_embed.put(Prepared(document, chunks, before))

    async def _embed_all(self) -> None:
        while group := await self._to_embed.take(EMBED_CHUNKS):
            started = time.perf_counter()
            results = await embed_together(group, self._embedder, made_before=self._made_before)
            self.worked("embed", time.perf_counter() - started)
            for prepared, result in zip(group, results, strict=True):
                if isinstance(result, Embedded):
                    await self._to_store.put(result)
                else:
                    self.failed(result, uri=prepared.document.uri)
        await self._to_store.close()

    async def _store_all(self) -> None:
        while taken := await self._to_store.take(1):
            for embedded in taken:
                started = time.perf_counter()
                await self._keep(embedded)
                self.worked("store", time.perf_counter() - started)

    async def _keep(self, embedded: Embedded) -> None:
        document = embedded.prepared.document
        try:
            stored = await self._store.upsert(
                document,
                embedded.prepared.chunks,
                embedded.vectors,
                principal=self._principal,
                collection=self._collection,
                embedding_model=self._embedder.model,
                force=self._force,
            )
        except (Conflict, InputError) as error:
            self.failed(error, uri=document.uri)
            return
        self._report.count(stored)
        self._tell(document.uri, stored.outcome)

    # What the stages tell: see loading.Told.

    def unchanged(self, uri: str, *, last_of_file: bool) -> None:
        self._report.unchanged += 1
        self._files_done += last_of_file
        self._tell(uri, "unchanged")

    def failed(self, error: RAGentsError, *, uri: str = "", last_of_file: bool = False) -> None:
        if isinstance(error, DocumentError):
            failure = Failure(error.uri, error.reason, error.detail)
        else:
            failure = Failure(uri, error.code, str(error))
        self._report.failures.append(failure)
        self._files_done += last_of_file
        self._tell(failure.uri, "failed")

    def file_done(self) -> None:
        self._files_done += 1

    def worked(self, stage: str, seconds: float) -> None:
        self._report.stage_s[stage] += seconds

    def _tell(self, uri: str, outcome: Outcome) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._report.files, self._files_done, self._report.chunks, uri, outcome))
