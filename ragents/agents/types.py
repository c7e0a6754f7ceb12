"""The vocabulary of agents: who asks what, and what comes back."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ragents.agents.budget import Budget
from ragents.config.base import Config
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.filters import Filters
from ragents.rag.types import RAGResponse

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


def new_thread_id() -> str:
    return str(uuid.uuid4())


ThreadStatus = Literal["idle", "waiting", "running", "interrupted"]
"""idle: every turn is answered. waiting: the agent has asked back. interrupted: a crash cut a turn off."""


class AgentConfig(Config):
    """Bounds of one turn."""

    turn_timeout_s: float = Field(default=120.0, gt=0, description="after it the turn ends with what is known so far")
    max_steps: int = Field(default=25, ge=1, le=1000, description="graph steps (LangGraph's supersteps) of a turn")
    max_tokens_per_turn: int = Field(default=20_000, ge=1, description="prompt and completion, all calls together")
    concurrent_turns: Literal["wait", "refuse"] = Field(
        default="wait", description="a second request on a thread waits for the first, or gets 409"
    )
    thread_wait_s: float = Field(default=30.0, ge=0, description="how long it waits before 409")


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
    filters: Filters = field(default_factory=dict)
    max_tokens: int | None = None
    use_cache: bool = True
    budget: Budget = field(default_factory=Budget)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """The client's idempotency key: asked again with it, a turn goes on or is told again, and is never made twice."""
    history: "tuple[BaseMessage, ...]" = ()
    """What was said before, by a client that keeps its conversations itself: a new thread begins with it."""


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


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """What happens in a turn, in this order but for the statuses: "status" (a step begins), "sources", "token", "done".

    `found` comes with "sources": what the answer rests on, and the confidence. With "done" comes the checked `answer`,
    and the sentences that were told as tokens and are not in it.
    """

    kind: Literal["status", "sources", "token", "done"]
    text: str = ""
    node: str = ""
    found: RAGResponse | None = None
    answer: AgentAnswer | None = None
    retracted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread as its owner sees it."""

    thread_id: str
    agent_type: str | None
    messages: "Sequence[BaseMessage]"
    state: ThreadStatus
    pending: Pending | None
    updated_at: str
