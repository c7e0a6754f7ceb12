"""The first stage: files are read and cut into chunks, in threads, and what has not changed is passed over."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ragents.errors import DocumentError
from ragents.ingestion.discover import Found
from ragents.ingestion.worker import Worker
from ragents.rag.chunking import Chunker
from ragents.rag.loaders import LoadedDocument, LoadLimits, load
from ragents.rag.types import Chunk, Document

log = logging.getLogger(__name__)
T = TypeVar("T")

LOADERS = 2
MAX_CHUNKS_PER_DOCUMENT = 50_000


class Told(Protocol):
    """Who counts. `last_of_file`: the file is done with this."""

    def unchanged(self, uri: str, *, last_of_file: bool) -> None: ...

    def failed(self, error: DocumentError, *, last_of_file: bool = False) -> None: ...

    def file_done(self) -> None: ...

    def worked(self, stage: str, seconds: float) -> None: ...


class Loading:
    """`known`: uri -> content hash of what is stored. `shape`: what else makes chunks and vectors what they are."""

    def __init__(
        self,
        *,
        chunker: Chunker,
        limits: LoadLimits,
        known: Mapping[str, str],
        shape: str,
        told: Told,
        give: Callable[[Document, list[Chunk]], Awaitable[None]],
    ) -> None:
        self._chunker, self._limits, self._known, self._shape = chunker, limits, known, shape
        self._told, self._give = told, give

    async def all(self, files: Sequence[Found]) -> None:
        waiting = iter(files)

        async def loader(number: int) -> None:
            worker = Worker(f"loader-{number}")
            try:
                for file in waiting:
                    await self._file(file, worker)
            finally:
                worker.close()

        async with asyncio.TaskGroup() as loaders:
            for number in range(LOADERS):
                loaders.create_task(loader(number))

    async def _file(self, file: Found, worker: Worker) -> None:
        try:
            digest = await self._timed(lambda: _digest(file.path), worker)
        except TimeoutError:
            self._timed_out(file.uri)
            return
        except OSError as error:
            reason = DocumentError(file.uri, "unreadable", error.strerror or str(error))
            self._told.failed(reason, last_of_file=True)
            return
        content_hash = self._hash(digest)
        if self._known.get(file.uri) == content_hash:
            self._told.unchanged(file.uri, last_of_file=True)
            return
        documents = load(file.path, uri=file.uri, limits=self._limits)
        last_uri = file.uri
        try:
            while (loaded := await self._timed(lambda: next(documents, None), worker)) is not None:
                last_uri = loaded.uri
                if isinstance(loaded, DocumentError):
                    self._told.failed(loaded)
                    continue
                loaded_hash = self._hash(loaded.digest) if loaded.digest else content_hash
                await self._document(loaded, loaded_hash, file, worker)
        except DocumentError as error:
            self._told.failed(error, last_of_file=True)
        except (ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            # A surprise of the chunking's libraries is news about this document, not the end of the run.
            log.warning("%s could not be cut", last_uri, exc_info=error)
            detail = f"{type(error).__name__} while it was cut: {error}"[:200]
            self._told.failed(DocumentError(last_uri, "damaged", detail), last_of_file=True)
        except TimeoutError:
            self._timed_out(last_uri)
        else:
            self._told.file_done()

    def _timed_out(self, uri: str) -> None:
        detail = f"not read within {self._limits.timeout_s:g} s"
        self._told.failed(DocumentError(uri, "unreadable", detail), last_of_file=True)

    async def _document(self, loaded: LoadedDocument, content_hash: str, file: Found, worker: Worker) -> None:
        if self._known.get(loaded.uri) == content_hash:
            self._told.unchanged(loaded.uri, last_of_file=False)
            return
        try:
            chunks = await self._timed(lambda: self._cut(loaded), worker)
        except DocumentError as error:
            if loaded.digest is None:
                raise
            self._told.failed(error)  # one of many in its file: the others are read
            return
        document = Document(
            uri=loaded.uri,
            title=loaded.title,
            format=loaded.format,
            content_hash=content_hash,
            size_bytes=file.path.stat().st_size if loaded.digest is None else sum(len(chunk.text) for chunk in chunks),
            metadata=loaded.metadata,
        )
        await self._give(document, chunks)

    def _cut(self, loaded: LoadedDocument) -> list[Chunk]:
        chunks = []
        for chunk in self._chunker.split(loaded.blocks):
            chunks.append(chunk)
            if len(chunks) > MAX_CHUNKS_PER_DOCUMENT:
                raise DocumentError(loaded.uri, "too_large", f"more than {MAX_CHUNKS_PER_DOCUMENT} chunks")
        return chunks

    async def _timed(self, work: Callable[[], T], worker: Worker) -> T:
        """In the worker's thread, within the time for one document."""
        started = time.perf_counter()
        try:
            return await worker.run(work, timeout_s=self._limits.timeout_s)
        finally:
            self._told.worked("load", time.perf_counter() - started)

    def _hash(self, digest: str) -> str:
        return hashlib.sha256(f"{digest}\n{self._shape}".encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
