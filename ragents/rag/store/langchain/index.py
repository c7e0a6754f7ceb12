"""VectorIndex: a store of LangChain's as an index of ids, in bounded time and off the event loop."""

import asyncio
import hashlib
import importlib
import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from langchain_core.vectorstores import VectorStore

from ragents.embeddings.types import Vectors
from ragents.errors import ConfigError, Conflict, RAGentsError, StoreUnavailable
from ragents.rag.store.langchain.embeddings import HandedEmbeddings
from ragents.rag.store.langchain.kinds import SCOPE, Kind, class_path, kind_of, remote

log = logging.getLogger(__name__)
T = TypeVar("T")

REFERENCE = re.compile(r"^\$\{(\w+)\}$")
SECRET = re.compile(r"key|token|password|secret", re.IGNORECASE)
IN_MEMORY = "in memory: "
"""What the names of stores begin with that end with their process."""
SERVER_THREADS = 8
BATCH = 500
"""Vectors per call: a call of a store ends in time however long a document is."""


class VectorIndex:
    """Ids and vectors, each in one scope. The store behind is made at the first use, which knows the dimension."""

    def __init__(self, cls: type[VectorStore], arguments: Mapping[str, Any], *, timeout_s: float) -> None:
        self._cls = cls
        self._kind: Kind = kind_of(cls)
        self._written = dict(arguments)
        self._arguments = {key: resolved(value, f"store.args.{key}") for key, value in arguments.items()}
        self._timeout_s = timeout_s
        self._made: tuple[VectorStore, HandedEmbeddings] | None = None
        self._making = threading.Lock()
        # A store that keeps its rows in this process is rarely safe to use from two threads.
        threads = SERVER_THREADS if remote(self._arguments) else 1
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="vector-store")
        self.volatile = self._kind.volatile(self._arguments)
        self.name = self._name()

    def _name(self) -> str:
        """Of the store with its arguments, as they are written: secrets are not, where they come from is."""
        written = json.dumps(self._written, sort_keys=True)
        name = f"{class_path(self._cls)} {hashlib.sha256(written.encode()).hexdigest()[:16]}"
        return f"{IN_MEMORY}{name} {uuid.uuid4()}" if self.volatile else name

    async def add(self, ids: Sequence[str], vectors: Vectors, *, scope: str) -> None:
        """StoreUnavailable when it fails; some may be there then."""
        for start in range(0, len(ids), BATCH):
            await self._call(self._add, list(ids[start : start + BATCH]), vectors[start : start + BATCH], scope)

    async def search(self, vector: Vectors, k: int, *, scope: str) -> list[uuid.UUID]:
        """Ids, best first: at most k, fewer where the store filters afterwards; of other scopes where it cannot."""
        return await self._call(self._search, vector, k, scope)

    async def delete(self, ids: Sequence[str], *, dimension: int) -> None:
        """Unknown ids are no error."""
        for start in range(0, len(ids), BATCH):
            await self._call(self._delete, list(ids[start : start + BATCH]), dimension)

    def check(self) -> None:
        """ConfigError for arguments that the class does not take."""
        self._kind.check(self._cls, self._arguments)

    async def ping(self, timeout_s: float) -> None:
        """A search in a scope that nothing has. Before its first use a store is not connected, and not asked."""
        if self._made is not None:
            vector = np.eye(1, self._made[1].dimension, dtype=np.float32)[0]
            await self._call(self._search, vector, 1, "ping", timeout_s=timeout_s)

    async def close(self) -> None:
        """What is under way ends on its own; a thread cannot be stopped."""
        try:
            if self._made is not None:
                await self._call(self._kind.close, self._made[0])
        except StoreUnavailable:
            log.warning("%s was not closed in order", self.name)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _add(self, ids: list[str], vectors: Vectors, scope: str) -> None:
        store, embeddings = self._open(vectors.shape[1])
        with embeddings.handing(ids, vectors):
            store.add_texts(ids, metadatas=[{SCOPE: scope} for _ in ids], ids=ids)

    def _search(self, vector: Vectors, k: int, scope: str) -> list[uuid.UUID]:
        store, embeddings = self._open(vector.shape[0])
        with embeddings.asking(vector) as question:
            found = store.similarity_search_with_score(question, k=k, **self._kind.scoped(scope, k))
        return [uuid.UUID(document.page_content) for document, _ in found]

    def _delete(self, ids: list[str], dimension: int) -> None:
        store, _ = self._open(dimension)
        if not self._kind.delete(store, ids):
            raise StoreUnavailable(f"{class_path(self._cls)} did not delete {len(ids)} vectors")

    def _open(self, dimension: int) -> tuple[VectorStore, HandedEmbeddings]:
        with self._making:
            if self._made is None:
                embeddings = HandedEmbeddings(dimension)
                self._made = self._kind.make(self._cls, self._arguments, embeddings), embeddings
        if self._made[1].dimension != dimension:
            raise Conflict(
                f"the vector store holds vectors of {self._made[1].dimension} dimensions, these have {dimension}; one "
                "store is for one rag.embedding_model: give the other model a store of its own in store.args"
            )
        return self._made

    async def _call(self, work: Callable[..., T], *arguments: object, timeout_s: float | None = None) -> T:
        loop, timeout_s = asyncio.get_running_loop(), timeout_s or self._timeout_s
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._threads, lambda: work(*arguments)), timeout=timeout_s
            )
        except RAGentsError:
            raise
        except Exception as error:  # the stores' errors have no common base
            log.warning("%s: %s: %s", class_path(self._cls), type(error).__name__, error)
            late = isinstance(error, TimeoutError)
            reason = f"no answer within {timeout_s:g} s" if late else type(error).__name__
            raise StoreUnavailable(f"{class_path(self._cls)}: {reason}") from error


def find_class(path: str | None) -> type[VectorStore]:
    """What `store.class` names. ConfigError that says what is wrong with it."""
    module, _, name = (path or "").rpartition(".")
    if not module:
        raise ConfigError(f"store.class = {path!r}: expected package.Class, for example langchain_chroma.Chroma")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        package = module.split(".")[0].replace("_", "-")
        raise ConfigError(
            f"store.class = {path!r}: {error}; install the package that has it: pip install {package}"
        ) from error
    if not isinstance(found, type) or not issubclass(found, VectorStore):
        raise ConfigError(f"store.class = {path!r} is no subclass of langchain_core.vectorstores.VectorStore")
    return found


def resolved(value: Any, where: str) -> Any:
    """`value` with each "${NAME}" read from the environment. ConfigError for a secret that is written out."""
    match value:
        case str() if reference := REFERENCE.match(value):
            if reference[1] not in os.environ:
                raise ConfigError(f"{where} names the environment variable {reference[1]}, which is not set")
            return os.environ[reference[1]]
        case str() if SECRET.search(where.rpartition(".")[2]):
            raise ConfigError(f"{where} holds a secret; put it into the environment and write '${{ITS_NAME}}' here")
        case Mapping():
            return {key: resolved(each, f"{where}.{key}") for key, each in value.items()}
        case list():
            return [resolved(each, f"{where}.{at}") for at, each in enumerate(value)]
        case _:
            return value
