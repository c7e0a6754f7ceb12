"""ServiceConfig gathers the settings of every room; each section is described where its class stands."""

from typing import Self

from pydantic import AliasChoices, Field, model_validator

from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.agents.types import AgentConfig
from ragents.config.base import Config
from ragents.config.rag_config import RAGConfig
from ragents.deployment.keys.types import AuthConfig
from ragents.deployment.observability.config import ObservabilityConfig
from ragents.deployment.rate_limiting.config import RateLimitConfig
from ragents.deployment.serving import ServingConfig
from ragents.embeddings.types import LOCAL_BACKENDS, EmbeddingConfig
from ragents.llm.types import ModelConfig
from ragents.rag.cache.semantic.types import SemanticCacheConfig
from ragents.rag.cache.types import CacheConfig
from ragents.rag.rerank.types import RerankConfig
from ragents.rag.store.types import StoreConfig


class ServiceConfig(Config):
    """configuration.yaml as a whole. The longer names (`rag_config`, ...) are accepted as well."""

    rag: RAGConfig = Field(default_factory=RAGConfig, validation_alias=AliasChoices("rag", "rag_config"))
    llm: ModelConfig = Field(default_factory=ModelConfig, validation_alias=AliasChoices("llm", "model_config"))
    embeddings: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    rerank: RerankConfig = Field(default_factory=RerankConfig)
    store: StoreConfig = Field(default_factory=StoreConfig)
    cache: CacheConfig = Field(default_factory=CacheConfig, validation_alias=AliasChoices("cache", "cache_config"))
    semantic_cache: SemanticCacheConfig = Field(default_factory=SemanticCacheConfig)
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, validation_alias=AliasChoices("checkpoint", "checkpoint_config")
    )
    agents: AgentConfig = Field(default_factory=AgentConfig)
    auth: AuthConfig = Field(default_factory=AuthConfig)
    rate_limit: RateLimitConfig = Field(
        default_factory=RateLimitConfig, validation_alias=AliasChoices("rate_limit", "rate_limit_config")
    )
    serving: ServingConfig = Field(default_factory=ServingConfig)
    observability: ObservabilityConfig = Field(default_factory=ObservabilityConfig)

    @model_validator(mode="after")
    def _an_encoder_service_has_a_model(self) -> Self:
        backend = self.embeddings.backend
        if self.serving.encoder == "service" and backend not in LOCAL_BACKENDS:
            raise ValueError(
                f"serving.encoder is 'service' and embeddings.backend {backend!r} has no model here that the workers "
                f"could share; set serving.encoder to 'process', or the backend to one of {', '.join(LOCAL_BACKENDS)}"
            )
        return self
