"""The semantic layer of the cache: the answer to another wording of the same question."""

from ragents.embeddings.types import Embedder
from ragents.postgres import Connections
from ragents.rag.cache.semantic.gate import Verdict, judge, may_share
from ragents.rag.cache.semantic.layer import SemanticCache
from ragents.rag.cache.semantic.memory import MemoryAnswers
from ragents.rag.cache.semantic.pgvector import PgAnswers
from ragents.rag.cache.semantic.types import (
    AnswerStore,
    AnswerUsage,
    SemanticCacheConfig,
    SemanticHit,
    SemanticStats,
    StoredAnswer,
    StoredQuestion,
)

__all__ = [
    "AnswerStore",
    "AnswerUsage",
    "MemoryAnswers",
    "PgAnswers",
    "SemanticCache",
    "SemanticCacheConfig",
    "SemanticHit",
    "SemanticStats",
    "StoredAnswer",
    "StoredQuestion",
    "Verdict",
    "create_semantic_cache",
    "judge",
    "may_share",
]


def create_semantic_cache(
    config: SemanticCacheConfig, *, embedder: Embedder, connections: Connections | None = None
) -> SemanticCache:
    """On the store's Postgres where there are `connections` to it, which stay the caller's; else in this process.

    It answers nothing until its `start` was awaited.
    """
    answers: AnswerStore = MemoryAnswers(config) if connections is None else PgAnswers(connections, config)
    return SemanticCache(config, answers, embedder=embedder)
