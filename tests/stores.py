"""The stores of the conformance table, those of LangChain's packages where they are installed."""

import importlib.util
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ragents.rag.store import StoreConfig, VectorStore, open_store

Settings = dict[str, Any]

CLASSES: dict[str, tuple[tuple[str, ...], str, Callable[[Path], Settings]]] = {
    "chroma": (
        ("langchain_chroma",),
        "langchain_chroma.Chroma",
        lambda folder: {"persist_directory": str(folder), "collection_name": "ragents"},
    ),
    "qdrant": (
        ("langchain_qdrant",),
        "langchain_qdrant.QdrantVectorStore",
        lambda folder: {"client_options": {"path": str(folder)}, "validate_collection_config": False},
    ),
    "milvus": (
        ("langchain_milvus", "milvus_lite"),
        "langchain_milvus.Milvus",
        lambda folder: {"connection_args": {"uri": str(folder / "milvus.db")}, "collection_name": "ragents"},
    ),
    "faiss": (
        ("langchain_community", "faiss"),
        "langchain_community.vectorstores.FAISS",
        lambda folder: {},
    ),
}
"""Name -> packages, class, arguments."""


def _extra(name: str) -> Any:
    missing = [each for each in CLASSES[name][0] if importlib.util.find_spec(each) is None]
    reason = f"needs {' and '.join(each.replace('_', '-') for each in missing)}, not installed"
    return pytest.param(name, marks=[pytest.mark.extras, pytest.mark.skipif(bool(missing), reason=reason)])


LANGCHAIN: list[Any] = ["langchain in memory", *(_extra(name) for name in CLASSES)]
"""Parameters of fixtures. LangChain's own store in memory needs nothing that is not installed."""


@asynccontextmanager
async def open_backend(name: str, *, dsn: str, migrate_dsn: str) -> AsyncIterator[VectorStore]:
    """A store of the table; one with files has a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ragents-store-") as folder:
        async with open_store(settings_of(name, Path(folder)), dsn=dsn, migrate_dsn=migrate_dsn) as store:
            yield store


def settings_of(name: str, folder: Path) -> StoreConfig:
    if name in ("memory", "postgres"):
        return StoreConfig.model_validate({"backend": name})
    if name == "langchain in memory":
        return StoreConfig(backend="langchain", class_="langchain_core.vectorstores.InMemoryVectorStore")
    _, path, arguments = CLASSES[name]
    place = folder / uuid.uuid4().hex
    place.mkdir()
    return StoreConfig(backend="langchain", class_=path, args=arguments(place))
