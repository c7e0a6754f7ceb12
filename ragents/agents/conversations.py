"""Conversations: one turn from question to stored answer, over the answer cache. What /query and the CLI call."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from ragents.agents.langgraph_base import LangGraphAgent, history_digest, new_thread_id
from ragents.agents.types import AgentAnswer, Turn
from ragents.errors import InputError
from ragents.principal import Principal
from ragents.rag.answering import PROMPT_VERSION
from ragents.rag.cache import CacheScope, RAGCache


class Conversations:
    """Answers questions with the agents it was handed."""

    def __init__(self, agents: Mapping[str, LangGraphAgent], *, cache: RAGCache | None = None) -> None:
        self.agents = dict(agents)
        self.cache = cache
        self._locks: WeakValueDictionary[tuple[Principal, str], asyncio.Lock] = WeakValueDictionary()

    def agent(self, agent_type: str) -> LangGraphAgent:
        """InputError that lists the agents for a name that is none of them."""
        if agent_type not in self.agents:
            raise InputError(
                f"agent_type = {agent_type!r}: no such agent; choose one of {', '.join(map(repr, self.agents))}",
                field="agent_type",
                code="unknown_agent",
            )
        return self.agents[agent_type]

    async def ask(
        self, query: str, *, agent_type: str = "simple", thread_id: str | None = None, turn: Turn | None = None
    ) -> AgentAnswer:
        """Answer from the cache or by the agent; either way the turn is on the thread before this returns.

        Turns of one thread run one after the other.
        """
        turn = turn or Turn()
        agent = self.agent(agent_type)
        thread = thread_id or new_thread_id()
        async with self._turn_of(thread, turn.principal):
            if self.cache is None or not turn.use_cache:
                return await agent.process_message(query, thread_id=thread, turn=turn)
            started = time.perf_counter()
            scope = await self._scope(agent, turn, thread_id)
            hit = await self.cache.get_answer(query.strip(), scope=scope)
            if hit is not None:
                looked_up = {"retrieve_ms": (time.perf_counter() - started) * 1000}
                response = replace(hit, cached="answer", timings=looked_up, usage=type(hit.usage)())
                await agent.append_turn(query, response, thread_id=thread, principal=turn.principal)
                return AgentAnswer(thread, agent.name, response)
            answer = await agent.process_message(query, thread_id=thread, turn=turn)
            await self.cache.cache_answer(query.strip(), answer.response, scope=scope)
            return answer

    async def _scope(self, agent: LangGraphAgent, turn: Turn, thread_id: str | None) -> CacheScope:
        """Everything the answer depends on. A named thread's history is part of it; a new thread has none."""
        found = await agent.engine.scope(principal=turn.principal, collection=turn.collection, filters=turn.filters)
        history = await agent.history(thread_id, principal=turn.principal) if thread_id else []
        parameters: dict[str, Any] = {
            **found.parameters,
            "agent": agent.name,
            "model": [each.name for each in agent.llm.models],
            "top_k": turn.top_k or agent.engine.config.top_k,
            "max_tokens": turn.max_tokens,
            "min_confidence": agent.engine.config.min_confidence,
            "prompt": PROMPT_VERSION,
            "history": history_digest(history),
        }
        return replace(found, parameters=parameters)

    @asynccontextmanager
    async def _turn_of(self, thread_id: str, principal: Principal) -> AsyncIterator[None]:
        lock = self._locks.setdefault((principal, thread_id), asyncio.Lock())
        async with lock:
            yield
