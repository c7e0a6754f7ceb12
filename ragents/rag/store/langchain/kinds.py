"""What LangChain's stores do each in their own way: how one is made, and how it is asked for one scope only.

A store that is not named here works too: it is made with its arguments and an embedder, and asked without a filter.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from ragents.errors import ConfigError
from ragents.rag.store.langchain.embeddings import HandedEmbeddings

SCOPE = "ragents_scope"
"""The one key of metadata: tenant and collection as a hash, so that nothing of a name is ever parsed by a store."""
EMBEDDER_NAMES = ("embedding", "embedding_function", "embeddings")
REMOTE = ("url", "uri", "host", "api_key", "pinecone_api_key", "redis_url", "chroma_cloud_api_key")

FAISS_FETCH = 10_000
"""Nearest vectors of all tenants, among which those of one are looked for."""

Arguments = dict[str, Any]
"""As a store's constructor takes them: LangChain's own signatures say no more."""


class Kind:
    """Any store."""

    def check(self, cls: type[VectorStore], arguments: Arguments) -> str:
        """What the constructor calls its embedder. ConfigError for arguments that it does not take; nothing is made."""
        parameters = inspect.signature(cls).parameters
        name = next((each for each in EMBEDDER_NAMES if each in parameters), None)
        if name is None:
            raise ConfigError(
                f"store.class {class_path(cls)} takes no embedder ({', '.join(EMBEDDER_NAMES)}); it embeds on its own, "
                "and the vectors would not be those of rag.embedding_model"
            )
        _fit(cls, cls, {**arguments, name: None})
        return name

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        """Connects, and makes the store's own collection where the store does so."""
        name = self.check(cls, arguments)
        return cls(**arguments, **{name: embeddings})

    def scoped(self, scope: str, k: int) -> Arguments:
        """Of similarity_search_with_score: only what was stored with this scope."""
        return {}

    def delete(self, store: VectorStore, ids: list[str]) -> bool:
        """False when the store says so. Unknown ids are no error."""
        return store.delete(ids) is not False

    def volatile(self, arguments: Arguments) -> bool:
        """Whether the store's content ends with the process."""
        return False

    def close(self, store: VectorStore) -> None:
        """Connections and locks that a store leaves to its client."""


class Mongo(Kind):
    """Filters as MongoDB writes them: Chroma, Pinecone, PGVector."""

    def scoped(self, scope: str, k: int) -> Arguments:
        return {"filter": {SCOPE: {"$eq": scope}}}


class Chroma(Mongo):
    def volatile(self, arguments: Arguments) -> bool:
        return not remote(arguments) and "persist_directory" not in arguments


class Qdrant(Kind):
    """`args`: those of QdrantVectorStore.construct_instance, the client's in `client_options`."""

    def check(self, cls: type[VectorStore], arguments: Arguments) -> str:
        _fit(cls, cls.construct_instance, {**arguments, "embedding": None})  # type: ignore[attr-defined]  # its own
        return "embedding"

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        store: VectorStore = cls.construct_instance(  # type: ignore[attr-defined]  # QdrantVectorStore's own
            **{"collection_name": "ragents", **arguments}, embedding=embeddings
        )
        return store

    def scoped(self, scope: str, k: int) -> Arguments:
        from qdrant_client import models  # noqa: PLC0415  # installed with langchain-qdrant

        match = models.MatchValue(value=scope)
        return {"filter": models.Filter(must=[models.FieldCondition(key=f"metadata.{SCOPE}", match=match)])}

    def volatile(self, arguments: Arguments) -> bool:
        return bool(arguments.get("client_options", {}).get("location") == ":memory:")

    def close(self, store: VectorStore) -> None:
        """In local mode the folder is locked until then."""
        store.client.close()  # type: ignore[attr-defined]  # QdrantVectorStore's own


class Milvus(Kind):
    """Strong consistency, unless told otherwise: what was written is found by the next search of any process."""

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        return super().make(cls, {"consistency_level": "Strong", **arguments}, embeddings)

    def scoped(self, scope: str, k: int) -> Arguments:
        return {"expr": f'{SCOPE} == "{scope}"'}

    def delete(self, store: VectorStore, ids: list[str]) -> bool:
        # The collection is made by the first insert; until then there is nothing to delete, which is an error there.
        return store.col is None or super().delete(store, ids)  # type: ignore[attr-defined]  # Milvus's own

    def close(self, store: VectorStore) -> None:
        store.client.close()  # type: ignore[attr-defined]  # Milvus's own


class InMemory(Kind):
    def scoped(self, scope: str, k: int) -> Arguments:
        def passes(document: Document) -> bool:
            return bool(document.metadata.get(SCOPE) == scope)

        return {"filter": passes}

    def volatile(self, arguments: Arguments) -> bool:
        return True


class Faiss(Kind):
    """An exact index in memory. LangChain saves it as a pickle, which is never read here: it ends with the process."""

    def check(self, cls: type[VectorStore], arguments: Arguments) -> str:
        if arguments:
            raise ConfigError(f"store.args = {sorted(arguments)}: FAISS takes none here; leave store.args out")
        return "embedding_function"

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        import faiss  # noqa: PLC0415  # with langchain-community, whose import costs 1 s
        from langchain_community.docstore.in_memory import InMemoryDocstore  # noqa: PLC0415

        parts = {"docstore": InMemoryDocstore(), "index_to_docstore_id": {}}
        made: VectorStore = cls(embeddings, index=faiss.IndexFlatL2(embeddings.dimension), **parts)  # type: ignore[call-arg]  # FAISS's own
        return made

    def scoped(self, scope: str, k: int) -> Arguments:
        # LangChain filters the best fetch_k afterwards, in Python: what others take of them is missing here.
        return {"filter": {SCOPE: scope}, "fetch_k": max(10 * k, FAISS_FETCH)}

    def delete(self, store: VectorStore, ids: list[str]) -> bool:
        known = set(store.index_to_docstore_id.values())  # type: ignore[attr-defined]  # FAISS's own
        present = [each for each in ids if each in known]
        return not present or super().delete(store, present)

    def volatile(self, arguments: Arguments) -> bool:
        return True


class Redis(Kind):
    """`args`: those of RedisConfig, such as redis_url and index_name."""

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        schema = [{"name": SCOPE, "type": "tag"}]
        return super().make(cls, {"metadata_schema": schema, **arguments}, embeddings)

    def scoped(self, scope: str, k: int) -> Arguments:
        from redisvl.query.filter import Tag  # noqa: PLC0415  # installed with langchain-redis

        return {"filter": Tag(SCOPE) == scope}

    def delete(self, store: VectorStore, ids: list[str]) -> bool:
        store.delete(ids)  # False there when one of them was unknown
        return True


class Weaviate(Kind):
    """`args`: those of WeaviateVectorStore, and `client_options`: those of weaviate.connect_to_custom."""

    def check(self, cls: type[VectorStore], arguments: Arguments) -> str:
        named = {key: value for key, value in arguments.items() if key != "client_options"}
        return super().check(cls, {"client": None, "index_name": None, "text_key": None, **named})

    def make(self, cls: type[VectorStore], arguments: Arguments, embeddings: HandedEmbeddings) -> VectorStore:
        import weaviate  # noqa: PLC0415  # installed with langchain-weaviate

        given = {"index_name": "Ragents", "text_key": "text", **arguments}
        client = weaviate.connect_to_custom(**given.pop("client_options", {}))
        return super().make(cls, {**given, "client": client}, embeddings)

    def scoped(self, scope: str, k: int) -> Arguments:
        from weaviate.classes.query import Filter  # noqa: PLC0415

        # LangChain asks Weaviate for vectors and words together; alpha 1 is vectors alone.
        return {"alpha": 1.0, "filters": Filter.by_property(SCOPE).equal(scope)}

    def close(self, store: VectorStore) -> None:
        store._client.close()  # type: ignore[attr-defined]  # WeaviateVectorStore's own


class HasName(Protocol):
    __module__: str
    __name__: str


def kind_of(cls: HasName) -> Kind:
    match (cls.__module__.split(".")[0], cls.__name__):
        case ("langchain_chroma", "Chroma"):
            return Chroma()
        case ("langchain_qdrant", "QdrantVectorStore"):
            return Qdrant()
        case ("langchain_milvus", "Milvus" | "Zilliz"):
            return Milvus()
        case ("langchain_core", "InMemoryVectorStore"):
            return InMemory()
        case ("langchain_community", "FAISS"):
            return Faiss()
        case ("langchain_pinecone", "PineconeVectorStore"):
            return Mongo()
        case ("langchain_redis", "RedisVectorStore"):
            return Redis()
        case ("langchain_weaviate", "WeaviateVectorStore"):
            return Weaviate()
        case _:
            return Kind()


def class_path(cls: HasName) -> str:
    return f"{cls.__module__}.{cls.__name__}"


def _fit(cls: HasName, maker: Callable[..., object], arguments: Arguments) -> None:
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"store.args do not fit {class_path(cls)}: {error}") from error


def remote(arguments: Mapping[str, Any]) -> bool:
    """Whether the store is a server, or a library that keeps its rows in this process."""
    nested = [each for each in arguments.values() if isinstance(each, Mapping)]
    found = [value for each in (arguments, *nested) for key, value in each.items() if key in REMOTE]
    return any(not str(value).startswith(("/", ".")) and not str(value).endswith(".db") for value in found)
