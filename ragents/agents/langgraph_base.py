"""LangGraphAgent: the base of all agents. An agent is a graph; this class runs it on a thread."""

import asyncio
import hashlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, TypedDict
from urllib.parse import quote

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from pydantic import TypeAdapter

from ragents.agents.types import AgentAnswer, AgentConfig, Turn
from ragents.errors import DeadlineExceeded
from ragents.llm.client import LLMClient
from ragents.principal import Principal
from ragents.rag.engine import RAGEngine
from ragents.rag.types import RAGResponse

RESPONSE: TypeAdapter[RAGResponse] = TypeAdapter(RAGResponse)


class AgentState(TypedDict, total=False):
    """What a thread keeps: the conversation, and the last turn's response as plain JSON values.

    Plain values, since a checkpoint must be read back without importing anything that a row names.
    """

    messages: Annotated[list[BaseMessage], add_messages]
    response: dict[str, Any]


Graph = StateGraph[AgentState, Turn, AgentState, AgentState]
CompiledGraph = CompiledStateGraph[AgentState, Turn, AgentState, AgentState]


class LangGraphAgent(ABC):
    """Subclasses name themselves and build their graph; its last node must leave `response` and an AIMessage.

    `llm_client` is a LangChain BaseChatModel or an LLMClient. Nothing that is handed in is closed here.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    def __init__(
        self,
        *,
        llm_client: BaseChatModel | LLMClient,
        rag_engine: RAGEngine,
        checkpointer: BaseCheckpointSaver[str] | None = None,
        config: AgentConfig | None = None,
    ) -> None:
        self.config = config or AgentConfig()
        self.llm = llm_client if isinstance(llm_client, LLMClient) else LLMClient.of(llm_client)
        self.engine = rag_engine
        self.graph: CompiledGraph = self.build_graph().compile(checkpointer=checkpointer, name=self.name)

    @abstractmethod
    def build_graph(self) -> Graph: ...

    @property
    @abstractmethod
    def last_node(self) -> str:
        """The node that leaves the answer; a turn that comes from the cache is stored as if this node had run."""

    async def process_message(
        self, message: str, *, thread_id: str | None = None, turn: Turn | None = None
    ) -> AgentAnswer:
        """Answer `message` on its thread (a new one without `thread_id`). Stored before it returns.

        Raises DeadlineExceeded after `turn_timeout_s`, and what engine and model raise.
        """
        turn = turn or Turn()
        thread_id = thread_id or new_thread_id()
        try:
            async with asyncio.timeout(self.config.turn_timeout_s):
                state = await self.graph.ainvoke(
                    {"messages": [HumanMessage(message)]},
                    config=thread_config(turn.principal, thread_id),
                    context=turn,
                    durability="sync" if self.graph.checkpointer else None,
                )
        except TimeoutError:
            raise DeadlineExceeded(
                f"the turn took longer than {self.config.turn_timeout_s:g} s; ask again or raise agents.turn_timeout_s"
            ) from None
        return AgentAnswer(thread_id, self.name, RESPONSE.validate_python(state["response"]))

    async def history(self, thread_id: str, *, principal: Principal) -> list[BaseMessage]:
        """The conversation so far; empty for a thread that is not there or not the principal's."""
        if self.graph.checkpointer is None:
            return []
        snapshot = await self.graph.aget_state(thread_config(principal, thread_id))
        messages: list[BaseMessage] = snapshot.values.get("messages", [])
        return messages

    async def append_turn(self, message: str, response: RAGResponse, *, thread_id: str, principal: Principal) -> None:
        """Store a turn that was answered without running the graph (from the cache)."""
        if self.graph.checkpointer is None:
            return
        update = {"messages": [HumanMessage(message), AIMessage(response.answer or "")], "response": stored(response)}
        await self.graph.aupdate_state(thread_config(principal, thread_id), update, as_node=self.last_node)


def new_thread_id() -> str:
    return str(uuid.uuid4())


def thread_config(principal: Principal, thread_id: str) -> RunnableConfig:
    """A thread belongs to one tenant and user: the stored id holds all three, quoted so that no two can read alike."""
    owner = f"{quote(principal.tenant, safe='')}:{quote(principal.user, safe='')}"
    return {"configurable": {"thread_id": f"{owner}:{quote(thread_id, safe='')}"}}


def stored(response: RAGResponse) -> dict[str, Any]:
    values: dict[str, Any] = RESPONSE.dump_python(response, mode="json")
    return values


def history_digest(messages: Sequence[BaseMessage]) -> str:
    """Equal for equal conversations; "" for none."""
    if not messages:
        return ""
    digest = hashlib.sha256()
    for message in messages:
        for part in (message.type, str(message.content)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
