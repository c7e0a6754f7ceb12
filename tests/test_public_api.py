"""The documented import paths: users write these lines."""

import importlib

import pytest

PATHS = {
    "ragents.deployment.bentoml_service": ["RAGentsService", "ServiceConfig"],
    "ragents.deployment.rate_limiting": ["RateLimitConfig", "RateLimiter", "Priority"],
    "ragents.llm.types": ["ModelConfig"],
    "ragents.llm.client": ["LLMClient"],
    "ragents.config.rag_config": ["RAGConfig"],
    "ragents.rag.cache": ["CacheConfig", "RAGCache", "get_cache"],
    "ragents.rag.engine": ["RAGEngine", "RAGResponse"],
    "ragents.agents.checkpointing": ["CheckpointConfig"],
    "ragents.agents.langgraph_base": ["LangGraphAgent"],
    "ragents.embedded": ["open_postgres"],
}


@pytest.mark.parametrize(("module", "names"), PATHS.items())
def test_a_documented_path_resolves(module: str, names: list[str]) -> None:
    imported = importlib.import_module(module)
    assert [name for name in names if not hasattr(imported, name)] == []
