"""The vocabulary of agents: who asks what, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from ragents.config.base import Config
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.types import RAGResponse, Scalar


class AgentConfig(Config):
    """Bounds of one turn."""

    turn_timeout_s: float = Field(default=120.0, gt=0, description="after it the turn ends with deadline_exceeded")


@dataclass(frozen=True, slots=True)
class Turn:
    """How one question is to be answered. It reaches the graph as run context and is not stored with the thread."""

    principal: Principal = ANONYMOUS
    collection: str | None = None
    top_k: int | None = None
    filters: Mapping[str, Scalar] = field(default_factory=dict)
    max_tokens: int | None = None
    use_cache: bool = True


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """The checked answer of one turn, and the thread it belongs to."""

    thread_id: str
    agent_type: str
    response: RAGResponse

    @property
    def answer(self) -> str:
        return self.response.answer or ""
