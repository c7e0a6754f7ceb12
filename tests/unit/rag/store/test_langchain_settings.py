"""store.backend = langchain: what the settings may say, and what is refused with which words."""

from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from ragents.config.loading import load_settings
from ragents.deployment.config import ServiceConfig
from ragents.errors import ConfigError
from ragents.rag.store import StoreConfig, open_store
from ragents.rag.store.langchain.embeddings import HandedEmbeddings
from ragents.rag.store.langchain.index import VectorIndex, find_class, resolved
from ragents.rag.store.langchain.kinds import Chroma, Kind, Milvus, Mongo, Qdrant, Redis, Weaviate, kind_of, remote


@pytest.mark.parametrize(
    ("store", "named"),
    [
        ({"backend": "langchain"}, "needs class"),
        ({"backend": "postgres", "class": "langchain_chroma.Chroma"}, "remove them"),
        ({"args": {"host": "x"}}, "remove them"),
        ({"backend": "langchain", "class": "a.B", "read_dsn": "postgresql://replica/x"}, "read_dsn"),
        ({"backend": "langchain", "class": "a.B", "args": {"f": print}}, "args"),
        ({"backend": "langchain", "class": "a.B", "klass": 1}, "unknown key"),
    ],
)
def test_settings_that_cannot_work_are_refused(store: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_settings(ServiceConfig, arguments={"store": store}, environ={})


def test_the_environment_names_class_and_arguments() -> None:
    environ = {
        "RAGENTS_STORE__BACKEND": "langchain",
        "RAGENTS_STORE__CLASS": "langchain_chroma.Chroma",
        "RAGENTS_STORE__ARGS__HOST": "chroma.example.org",
        "RAGENTS_STORE__ARGS__PORT": "8000",
    }
    store = load_settings(ServiceConfig, environ=environ).store
    assert (store.class_, store.args) == ("langchain_chroma.Chroma", {"host": "chroma.example.org", "port": 8000})


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (None, "expected package.Class"),
        ("Chroma", "expected package.Class"),
        ("langchain_nowhere.Store", "pip install langchain-nowhere"),
        ("langchain_core.vectorstores.Nothing", "no subclass"),
        ("langchain_core.documents.Document", "no subclass"),
        ("os.system", "no subclass"),
    ],
)
async def test_a_class_that_is_no_store_is_a_configuration_error(path: str | None, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        find_class(path)


async def test_a_class_that_is_not_there_stops_the_start() -> None:
    config = StoreConfig(backend="langchain", class_="langchain_nowhere.Store")
    with pytest.raises(ConfigError, match="langchain-nowhere"):
        async with open_store(config, dsn="postgresql://app@/nowhere"):
            pass


async def test_a_schema_that_is_missing_names_the_command(postgres: str) -> None:
    import asyncpg

    from ragents.deployment.app import migrate_all

    connection = await asyncpg.connect(postgres)
    await connection.execute("CREATE DATABASE without_vectors")
    await connection.close()
    owner = postgres.replace("/ragents?", "/without_vectors?")
    dsn = owner.replace("postgres@", "ragents_app@", 1)
    await migrate_all(owner, dsn=dsn)
    config = StoreConfig(backend="langchain", class_="langchain_core.vectorstores.InMemoryVectorStore")
    with pytest.raises(ConfigError, match="ragents db migrate"):
        async with open_store(config, dsn=dsn):
            pass


def test_secrets_are_read_from_the_environment_and_never_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_STORE_KEY", "s3cret")
    given = {"client_options": {"url": "http://q:6333", "api_key": "${MY_STORE_KEY}"}, "list": ["${MY_STORE_KEY}"]}
    found = resolved(given, "store.args")
    assert found == {"client_options": {"url": "http://q:6333", "api_key": "s3cret"}, "list": ["s3cret"]}
    index = VectorIndex(InMemoryVectorStore, {"x": "${MY_STORE_KEY}"}, timeout_s=1)
    assert "s3cret" not in index.name
    with pytest.raises(ConfigError, match="MISSING_KEY"):
        resolved({"a": "${MISSING_KEY}"}, "store.args")
    with pytest.raises(ConfigError, match=r"store\.args\.client_options\.api_key holds a secret") as error:
        resolved({"client_options": {"api_key": "written out"}}, "store.args")
    assert "written out" not in str(error.value)


def test_a_store_that_embeds_on_its_own_is_refused() -> None:
    class OwnWay(InMemoryVectorStore):
        def __init__(self, model: str) -> None:
            raise AssertionError("made")

    with pytest.raises(ConfigError, match="takes no embedder"):
        Kind().make(OwnWay, {}, HandedEmbeddings(3))


async def test_arguments_that_the_class_does_not_take_stop_the_start() -> None:
    config = StoreConfig(
        backend="langchain", class_="langchain_core.vectorstores.InMemoryVectorStore", args={"persist": "/data"}
    )
    with pytest.raises(ConfigError, match=r"store\.args do not fit .*'persist'"):
        async with open_store(config, dsn="postgresql://app@/nowhere"):
            pass


def test_every_text_meets_the_vector_it_was_handed_with() -> None:
    embeddings = HandedEmbeddings(2)
    with embeddings.handing(["a", "b"], np.array([[0, 1], [0.6, 0.8]], np.float32)):
        assert embeddings.embed_documents(["b", "a", "dummy_text"]) == [pytest.approx([0.6, 0.8]), [0, 1], [1, 0]]
    assert embeddings.embed_query("a") == [1, 0]


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("langchain_chroma.vectorstores", "Chroma", Chroma),
        ("langchain_qdrant.qdrant", "QdrantVectorStore", Qdrant),
        ("langchain_milvus.vectorstores.milvus", "Milvus", Milvus),
        ("langchain_redis.vectorstores", "RedisVectorStore", Redis),
        ("langchain_weaviate.vectorstores", "WeaviateVectorStore", Weaviate),
        ("langchain_pinecone.vectorstores", "PineconeVectorStore", Mongo),
        ("somewhere", "Store", Kind),
    ],
)
def test_a_store_is_known_by_its_package(module: str, name: str, kind: type[Kind]) -> None:
    made = type(name, (InMemoryVectorStore,), {"__module__": module})
    assert type(kind_of(made)) is kind


@pytest.mark.parametrize(
    ("arguments", "is_remote"),
    [
        ({}, False),
        ({"persist_directory": "/data"}, False),
        ({"connection_args": {"uri": "./milvus.db"}}, False),
        ({"connection_args": {"uri": "http://milvus:19530"}}, True),
        ({"client_options": {"path": "/data"}}, False),
        ({"client_options": {"url": "http://qdrant:6333"}}, True),
        ({"host": "chroma"}, True),
    ],
)
def test_a_server_is_told_from_a_library(arguments: dict[str, Any], is_remote: bool) -> None:
    assert remote(arguments) is is_remote
