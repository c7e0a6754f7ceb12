"""The semantic layer of the cache: the answer to another wording of the same question."""

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
    "judge",
    "may_share",
]
