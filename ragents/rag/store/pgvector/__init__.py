"""The store on Postgres with pgvector."""

from ragents.rag.store.pgvector.migrate import migrate
from ragents.rag.store.pgvector.store import PgVectorStore, open_pgvector

__all__ = ["PgVectorStore", "migrate", "open_pgvector"]
