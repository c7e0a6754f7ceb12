"""The vocabulary of agents: who asks what, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from ragents.agents.budget import Budget
from ragents.config.base import Config
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.types import RAGResponse, Scalar


class AgentConfig(Config):
    """Bounds of one turn."""

    turn_timeout_s: float = Field(default=120.0, gt=0, description="after it the turn ends with what is known so far")
    max_steps: int = Field(default=25, ge=1, le=1000, description="graph steps (LangGraph's supersteps) of a turn")
    max_tokens_per_turn: int = Field(default=20_000, ge=1, description="prompt and completion, all calls together")


@dataclass(frozen=True, slots=True)
class ThreadKey:
    """A thread as state is kept by: `thread` is LangGraph's thread_id, which holds its owner."""

    tenant: str
    thread: str


@dataclass(frozen=True, slots=True)
class Turn:
    """How one question is to be answered. It reaches the graph as run context and is not stored with the thread."""

    principal: Principal = ANONYMOUS
    collection: str | None = None
    top_k: int | None = None
    filters: Mapping[str, Scalar] = field(default_factory=dict)
    max_tokens: int | None = None
    use_cache: bool = True
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True)
class Pending:
    """What an agent asks back (LangGraph's interrupt). The turn goes on when it is answered."""

    question: str
    missing: tuple[str, ...] = ()
    """the names of what is needed"""


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """The checked answer of one turn, and the thread it belongs to. With `pending` the answer is the question asked."""

    thread_id: str
    agent_type: str
    response: RAGResponse
    pending: Pending | None = None

    @property
    def answer(self) -> str:
        return self.response.answer or ""
