"""Postgres as the record, and a vector store of LangChain's as the index over its vectors."""

from ragents.rag.store.langchain.migrate import migrate_vectors
from ragents.rag.store.langchain.opening import open_langchain
from ragents.rag.store.langchain.store import LangChainVectorStore

__all__ = ["LangChainVectorStore", "migrate_vectors", "open_langchain"]
