"""Conversations: turns on threads, each from question to stored answer, over the answer cache.

What /query, /threads and the CLI call. A thread is held while a turn runs on it: by one request in one process.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from langgraph.graph import START
from langgraph.types import StateSnapshot

from ragents.agents.checkpointing import ThreadState
from ragents.agents.checkpointing.leases import hold
from ragents.agents.langgraph_base import LangGraphAgent, thread_config, thread_key
from ragents.agents.speech import Speech
from ragents.agents.threads import asked_with, history_digest, pending_of, told_again
from ragents.agents.types import AgentAnswer, AgentConfig, Pending, ThreadStatus, ThreadView, Turn, new_thread_id
from ragents.errors import (
    BackendUnavailable,
    Conflict,
    IdempotencyKeyReused,
    InputError,
    NotFound,
    Overloaded,
    RAGentsError,
)
from ragents.llm.types import Usage
from ragents.principal import Principal
from ragents.rag.cache import CachedAnswer, CacheScope, Layer, RAGCache
from ragents.rag.cache.flights import Flight
from ragents.rag.cache.patience import patient_for
from ragents.rag.cache.semantic import SemanticCache, SemanticHit
from ragents.rag.types import RAGResponse
from ragents.tracing import span

WITH_WORDS: tuple[Layer, ...] = ("answer", "retrieval", "query_rewrite", "embedding")
"""Layers whose entries may hold the words of a thread, or their vectors."""
GLANCE_S = 0.5
"""A lease taken only to see whether somebody else holds the thread."""


class Conversations:
    """Answers with the agents it was handed. Without `threads` nothing is remembered."""

    def __init__(
        self,
        agents: Mapping[str, LangGraphAgent],
        *,
        cache: RAGCache | None = None,
        semantic: SemanticCache | None = None,
        threads: ThreadState | None = None,
        config: AgentConfig | None = None,
    ) -> None:
        self.agents = dict(agents)
        self.cache = cache
        self.semantic = semantic
        self.threads = threads
        self.config = config or AgentConfig()

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
        self,
        query: str,
        *,
        agent_type: str = "simple",
        thread_id: str | None = None,
        turn: Turn | None = None,
        speech: Speech | None = None,
    ) -> AgentAnswer:
        """Answer from the cache or by the agent; either way the turn is on the thread before this returns.

        `speech`: told the answer while it is written; the caller ends it.

        A turn that the thread has already (the same Turn.id) is told again, or goes on where a crash cut it off.
        ThreadBusy while another turn runs for longer than the settings allow to wait.
        """
        asked = Asked(
            query, self.agent(agent_type), turn or Turn(), thread_id or new_thread_id(), thread_id is not None, speech
        )
        if not asked.named:
            return await self._ask(asked)
        async with self._held(asked.thread, asked.turn.principal) as fence:
            asked = replace(asked, fence=fence)
            return await self._known_turn(asked) or await self._ask(asked)

    async def _ask(self, asked: "Asked") -> AgentAnswer:
        if self.cache is None or not asked.turn.use_cache or not asked.agent.cacheable:
            return await self._by_agent(asked)
        with patient_for(self.cache.config.timeout_s):
            return await self._ask_cached(self.cache, asked)

    async def _by_agent(self, asked: "Asked") -> AgentAnswer:
        if asked.named:
            return await asked.process(fence=asked.fence)
        async with self._held(asked.thread, asked.turn.principal) as fence:
            return await asked.process(fence=fence)

    async def _ask_cached(self, cache: RAGCache, asked: "Asked") -> AgentAnswer:
        """From the cache, or by the agent for all who ask the same meanwhile."""
        started, key, agent, turn = time.perf_counter(), asked.query.strip(), asked.agent, asked.turn
        with span("cache answer") as step:
            scope = await self._scope(asked)
            hit = await cache.get_answer(key, scope=scope)
            step.set_attribute("ragents.hit", hit is not None)
        if hit is not None and not hit.due:
            return await self._told(asked, hit, started)
        # While it is answered afresh before its time is over, the others are told what is there.
        async with cache.alone(key, scope=scope, wait_s=0 if hit else self.config.turn_timeout_s) as flight:
            if not flight.first and hit is None:
                hit = await self._answered_meanwhile(cache, flight, key, scope)
            if not flight.first and hit is not None:
                return await self._told(asked, hit, started)
            near = await self._near(key, scope, turn) if hit is None else None
            if near is not None and not near.shadow:
                found = replace(near.response, query=asked.query, cached="semantic", cached_similarity=near.similarity)
                return await self._told(asked, CachedAnswer(found, near.age_s), started)
            try:
                answer = await self._by_agent(asked)
            except (BackendUnavailable, Overloaded):
                if hit is None:
                    raise
                # What should only have been made afresh is true for a while yet. A new thread that was begun is left.
                again = asked if asked.named else replace(asked, thread=new_thread_id())
                return await self._told(again, hit, started)
            # A question asked back is of this turn only, and so is an answer that was cut short or lacks a step.
            whole = answer.response.ending == "stop" and not answer.response.passing
            if whole and answer.pending is None:
                flight.result = answer.response
                if await self._has_changed(asked, scope):
                    return answer
                await cache.cache_answer(key, answer.response, scope=scope)
                if self.semantic is not None:
                    if near is not None:  # a shadow: what it would have said beside what is said
                        self.semantic.compare(near, answer.response)
                    await self.semantic.keep(
                        key,
                        answer.response,
                        scope=scope,
                        principal=turn.principal,
                        used_tools=agent.name == "react",
                        personal=asked.named or bool(turn.history),
                    )
            return answer

    async def _has_changed(self, asked: "Asked", scope: CacheScope) -> bool:
        """Whether the documents did meanwhile. The caches have been cleared of a deleted one, and must stay so."""
        engine, turn = asked.agent.engine, asked.turn
        try:
            now = await engine.scope(principal=turn.principal, collection=turn.collection, filters=turn.filters)
        except RAGentsError:  # the answer is there: a store that is down now takes nothing from it
            return True
        return now.epoch != scope.epoch

    async def _near(self, key: str, scope: CacheScope, turn: Turn) -> SemanticHit | None:
        """The answer to another wording of the question, where that layer is on."""
        if self.semantic is None or self.semantic.off_because is not None:
            return None
        with span("cache semantic") as step:
            hit = await self.semantic.find(key, scope=scope, principal=turn.principal)
            step.set_attribute("ragents.hit", hit is not None and not hit.shadow)
        return hit

    async def _answered_meanwhile(
        self, cache: RAGCache, flight: Flight[RAGResponse], key: str, scope: CacheScope
    ) -> CachedAnswer | None:
        if flight.result is not None:
            return CachedAnswer(flight.result, age_s=0.0)
        with patient_for(cache.config.timeout_s):  # anew: this look-up may save a whole answer
            hit = await cache.get_answer(key, scope=scope)
        flight.result = hit.response if hit else None
        return hit

    async def _told(self, asked: "Asked", hit: CachedAnswer, started: float) -> AgentAnswer:
        timings = {"retrieve_ms": (time.perf_counter() - started) * 1000}
        layer = hit.response.cached or "answer"
        response = replace(hit.response, cached=layer, cached_age_s=hit.age_s, timings=timings, usage=Usage())
        await asked.agent.append_turn(
            asked.query, response, thread_id=asked.thread, turn=asked.turn, fence=asked.fence, new=not asked.named
        )
        return AgentAnswer(asked.thread, asked.agent.name, response)

    async def resume(self, reply: str | None, *, thread_id: str, turn: Turn | None = None) -> AgentAnswer:
        """Answer what the agent has asked, or (None) go on with a turn that a crash cut off.

        NotFound for a foreign or unknown thread, Conflict when there is nothing to go on with.
        """
        turn = turn or Turn()
        async with self._held(thread_id, turn.principal) as fence:
            agent, snapshot = await self._found(thread_id, turn.principal)
            pending = pending_of(snapshot.interrupts)
            if pending is not None and reply is None:
                raise InputError(f"answer is missing; the agent asked: {pending.question}", field="answer")
            if not snapshot.tasks or (pending is None and reply is not None):
                raise Conflict("the thread waits for no answer; ask the next question with POST /query")
            turn = replace(turn, id=_turn_of(snapshot) or turn.id)
            return await agent.resume(reply, thread_id=thread_id, turn=turn, fence=fence)

    async def thread(self, thread_id: str, *, principal: Principal) -> ThreadView:
        """NotFound for a foreign or unknown thread: they read the same."""
        agent, snapshot = await self._found(thread_id, principal)
        pending = pending_of(snapshot.interrupts)
        return ThreadView(
            thread_id,
            agent.name,
            snapshot.values.get("messages", []),
            await self._status(thread_id, principal, snapshot, pending),
            pending,
            snapshot.created_at or "",
        )

    async def forget(self, thread_id: str, *, principal: Principal) -> None:
        """Erase a thread, and the tenant's cached answers, which may hold its words. NotFound as in `thread`."""
        async with self._held(thread_id, principal):
            await self._found(thread_id, principal)
            key = thread_key(principal, thread_id)
            await self._threads.forget(key.tenant, key.thread)
        if self.cache is not None:
            for layer in WITH_WORDS:
                await self.cache.clear(layer, tenant=principal.tenant)
        if self.semantic is not None:
            await self.semantic.clear(tenant=principal.tenant)

    async def _known_turn(self, asked: "Asked") -> AgentAnswer | None:
        """The answer to a turn that the thread has already. A turn that another one left open is closed.

        IdempotencyKeyReused when it has the turn with another question.
        """
        thread_id, query, turn, fence = asked.thread, asked.query, asked.turn, asked.fence
        if self.threads is None:
            return None
        try:
            agent, snapshot = await self._found(thread_id, turn.principal)
        except NotFound:
            return None
        if asked_with(snapshot, turn.id) not in (None, query):
            raise IdempotencyKeyReused
        if snapshot.tasks and _turn_of(snapshot) == turn.id:
            if (pending := pending_of(snapshot.interrupts)) is not None:
                return agent.asked_back(snapshot.values, pending, thread_id)
            return await agent.resume(None, thread_id=thread_id, turn=turn, fence=fence, speech=asked.speech)
        # Before anything is closed: a turn that a later question has cut off must not run again beneath it.
        if (told := told_again(snapshot, turn.id)) is not None:
            return AgentAnswer(thread_id, agent.name, told)
        # A question that crashed before the first step is not in the state yet: the new one replaces it.
        if any(task.name != START for task in snapshot.tasks):
            await agent.close_turn(thread_id, turn=turn, fence=fence)
        return None

    async def _found(self, thread_id: str, principal: Principal) -> tuple[LangGraphAgent, StateSnapshot]:
        """The thread's state, and the agent whose graph left it."""
        found = await self._threads.saver.aget_tuple(thread_config(principal, thread_id))
        if found is None:
            raise NotFound("thread", thread_id)
        agent = self.agents.get(str(found.metadata.get("agent")), next(iter(self.agents.values())))
        snapshot = await agent.snapshot(thread_id, principal=principal)
        if snapshot is None:
            raise NotFound("thread", thread_id)
        return agent, snapshot

    async def _status(
        self, thread_id: str, principal: Principal, snapshot: StateSnapshot, pending: Pending | None
    ) -> ThreadStatus:
        if pending is not None:
            return "waiting"
        # Not `next`: a step whose writes are stored and whose checkpoint is not would pass for the last one.
        if not snapshot.tasks:
            return "idle"
        key = thread_key(principal, thread_id)
        fence = await self._threads.leases.take(key.tenant, key.thread, ttl_s=GLANCE_S)
        if fence is None:
            return "running"
        await self._threads.leases.release(key.tenant, key.thread, fence=fence)
        return "interrupted"

    async def _scope(self, asked: "Asked") -> CacheScope:
        """Everything the answer depends on. A named thread's history is part of it; a new thread has none."""
        agent, turn = asked.agent, asked.turn
        found = await agent.engine.scope(principal=turn.principal, collection=turn.collection, filters=turn.filters)
        named = asked.named
        history = await agent.history(asked.thread, principal=turn.principal) if named else list(turn.history)
        parameters: dict[str, Any] = {
            **found.parameters,
            "agent": agent.identity,
            "model": agent.llm.identity,
            "top_k": turn.top_k or agent.engine.config.top_k,
            "max_tokens": turn.max_tokens,
            "min_confidence": agent.engine.config.min_confidence,
            "history": history_digest(history),
        }
        return replace(found, parameters=parameters)

    @property
    def _threads(self) -> ThreadState:
        if self.threads is None:
            raise Conflict("this service keeps no threads")
        return self.threads

    @asynccontextmanager
    async def _held(self, thread_id: str, principal: Principal) -> AsyncIterator[int | None]:
        if self.threads is None:
            yield None
            return
        key = thread_key(principal, thread_id)
        wait_s = self.config.thread_wait_s if self.config.concurrent_turns == "wait" else 0.0
        async with hold(self.threads.leases, key.tenant, key.thread, wait_s=wait_s) as fence:
            yield fence


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on its way. `named`: the caller named the thread, which is held under `fence` from the start.

    Of a new thread nobody else knows before the answer is told, so it is held only while the agent works on it.
    """

    query: str
    agent: LangGraphAgent
    turn: Turn
    thread: str
    named: bool
    speech: Speech | None = None
    fence: int | None = None

    async def process(self, *, fence: int | None) -> AgentAnswer:
        return await self.agent.process_message(
            self.query, thread_id=self.thread, turn=self.turn, fence=fence, speech=self.speech
        )


def _turn_of(snapshot: StateSnapshot) -> str | None:
    """The Turn.id that the thread's newest checkpoint was written for."""
    found = dict(snapshot.metadata or {}).get("turn")
    return None if found is None else str(found)
