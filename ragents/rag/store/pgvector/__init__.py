"""The store on Postgres with pgvector."""

from ragents.rag.store.pgvector.migrate import migrate
from ragents.rag.store.pgvector.opening import open_pgvector
from ragents.rag.store.pgvector.store import PgVectorStore

__all__ = ["PgVectorStore", "migrate", "open_pgvector"]
