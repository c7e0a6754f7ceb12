"""From a request to an answer: limits, admission, the agent, the receipt."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

from langchain_core.messages import BaseMessage

from ragents import tracing
from ragents.agents.speech import Speech
from ragents.agents.types import AgentAnswer, AgentEvent, Turn
from ragents.deployment.admission import Admission
from ragents.deployment.app import App
from ragents.deployment.http import (
    RequestContext,
    current_request,
    error_value,
    internal,
    message_of,
    retry_after,
    status_of,
)
from ragents.deployment.limiting import Limiting
from ragents.deployment.observability.answers import describe_answer
from ragents.deployment.observability.metrics import Metrics
from ragents.deployment.parsing import parse_value
from ragents.deployment.rate_limiting import Reservation
from ragents.deployment.rate_limiting.limiter import user_key
from ragents.deployment.rate_limiting.types import Priority
from ragents.deployment.runs import Event, Run, Runs
from ragents.deployment.schemas import (
    Asking,
    BatchRequest,
    BatchResponse,
    ErrorOut,
    QueryRequest,
    QueryResponse,
    ResumeRequest,
    SourceOut,
    StreamedResponse,
    TableQueryRequest,
    TableQueryResponse,
)
from ragents.errors import DeadlineExceeded, InputError, Overloaded, RAGentsError
from ragents.tracing import INPUT, tell

log = logging.getLogger(__name__)


class Questions:
    """Answers the requests of one App. Batch items go through the same door as single questions."""

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._limits = app.config.serving
        self._log_content = app.config.observability.log_content
        self._limiting = Limiting(app.limiter, metrics)
        self.runs = Runs(grace_s=self._limits.resume_grace_s, log=app.threads.runs)
        self._admission = Admission(
            max_in_flight=self._limits.max_in_flight,
            max_queue=self._limits.max_queue,
            queue_timeout_s=self._limits.queue_timeout_s,
            aging_s=self._limits.aging_s,
        )

    def observe(self) -> None:
        """What runs, what waits, and whether limits are counted here, for the metrics: also while nobody asks."""
        self._limiting.observe()
        self._metrics.admission(self._admission.in_flight, self._admission.depth())

    async def query(
        self, request: QueryRequest, *, history: Sequence[BaseMessage] = (), item: int | None = None
    ) -> QueryResponse:
        """`history`: what a client that keeps its conversations itself says was said before. `item`: of a batch."""
        answer, fields = await self._ask(
            request, collection=request.collection, top_k=request.top_k, history=history, item=item
        )
        return QueryResponse(**fields, cached=answer.response.cached)

    async def table_query(self, request: TableQueryRequest) -> TableQueryResponse:
        answer, fields = await self._ask(request, collection=request.table_name, top_k=request.top_k)
        layer = answer.response.cached
        return TableQueryResponse(**fields, cached=layer is not None, cache_layer=layer)

    async def resume(self, thread_id: str, request: ResumeRequest) -> QueryResponse:
        """Go on with a thread that waits for an answer, or whose turn was cut off."""
        if request.answer is not None:
            self._check_length(request.answer, field="answer")
        turn = Turn(principal=current_request().principal)
        conversations = self._app.conversations
        agent_type = (await conversations.thread(thread_id, principal=turn.principal)).agent_type or ""
        answer, fields = await self._admitted(
            agent_type,
            Priority.NORMAL,
            lambda: conversations.resume(request.answer, thread_id=thread_id, turn=turn),
            question=request.answer or "",
        )
        return QueryResponse(**fields, cached=answer.response.cached)

    async def stream(self, request: QueryRequest, *, history: Sequence[BaseMessage] = ()) -> AsyncGenerator[Event]:
        """The events of an answer while it is written. Raises what goes wrong before the first."""
        context = current_request()

        async def work(run: Run) -> None:
            last: AgentEvent | None = None

            async def emit(event: AgentEvent) -> None:
                nonlocal last
                if event.kind == "done":
                    last = event
                else:
                    await run.put(event.kind, _shown(event))

            speech = Speech(emit)
            answer, fields = await self._ask(request, collection=request.collection, top_k=request.top_k, speech=speech)
            await speech.end(answer)
            retracted = list(last.retracted) if last else []
            done = StreamedResponse(**fields, cached=answer.response.cached, retracted=retracted)
            await run.put("done", done.model_dump(mode="json"))

        def told(error: Exception) -> dict[str, Any]:
            known = error if isinstance(error, RAGentsError) else internal(error, context.request_id)
            message = message_of(known, context.request_id)
            return error_value(status_of(known), known.code, message, context.request_id)

        await self.runs.start(context.request_id, context.principal, work, told=told)
        return self.runs.read(context.request_id, context.principal)

    async def batch(self, request: BatchRequest) -> BatchResponse:
        if len(request.requests) > self._limits.max_batch_size:
            raise InputError(
                f"requests has {len(request.requests)} items; at most {self._limits.max_batch_size} are taken at once",
                field="requests",
            )
        context = current_request()
        results = await asyncio.gather(*(self._item(n, each) for n, each in enumerate(request.requests)))
        waits = [each.retry_after_s for each in results if isinstance(each, ErrorOut) and each.retry_after_s]
        if waits:
            context.headers["Retry-After"] = str(max(waits))
        return BatchResponse(results=list(results), latency_ms=context.latency_ms, request_id=context.request_id)

    async def _item(self, number: int, value: Mapping[str, Any]) -> QueryResponse | ErrorOut:
        try:
            return await self.query(parse_value(QueryRequest, value, prefix=f"requests.{number}"), item=number)
        except RAGentsError as error:
            message = str(error) if status_of(error) != 500 else "an unexpected error"
            return ErrorOut(error=message, code=error.code, retry_after_s=retry_after(error))

    async def _ask(
        self,
        request: Asking,
        *,
        collection: str | None,
        top_k: int | None,
        history: Sequence[BaseMessage] = (),
        speech: Speech | None = None,
        item: int | None = None,
    ) -> tuple[AgentAnswer, dict[str, Any]]:
        self._check_length(request.query)
        context = current_request()
        key = context.idempotency_key
        turn = Turn(
            principal=context.principal,
            collection=collection,
            top_k=top_k,
            filters=request.filters or {},
            max_tokens=request.max_tokens,
            use_cache=request.use_cache,
            id=str(uuid.uuid4()) if key is None else key if item is None else f"{key}/{item}",
            history=tuple(history),
        )

        async def ask() -> AgentAnswer:
            return await self._app.conversations.ask(
                request.query, agent_type=request.agent_type, thread_id=request.thread_id, turn=turn, speech=speech
            )

        return await self._admitted(
            request.agent_type,
            request.priority,
            ask,
            question=request.query,
            max_tokens=request.max_tokens,
        )

    async def _admitted(
        self,
        agent_type: str,
        priority: Priority,
        work: Callable[[], Awaitable[AgentAnswer]],
        *,
        question: str,
        max_tokens: int | None = None,
    ) -> tuple[AgentAnswer, dict[str, Any]]:
        context, started = current_request(), time.perf_counter()
        asked = {"ragents.request_id": context.request_id, "ragents.tenant": context.principal.tenant}
        agents = self._app.conversations.agents
        with (
            tracing.question(f"question {agent_type if agent_type in agents else 'unknown'}", asked) as span,
            self._metrics.query(agent_type, agents) as outcome,
        ):
            tell(span, INPUT, lambda: question)
            if self._log_content:
                log.info("asked: %s", question)
            try:
                async with self._limiting.request(characters=len(question), max_tokens=max_tokens) as reservation:
                    answer, queue_ms = await self._in_turn(priority, work, reservation)
                    if reservation is not None:
                        response = answer.response
                        await reservation.used(response.usage, cache_hit=response.cached is not None)
            except Overloaded as error:
                self._metrics.limited(error.reason)
                raise
            finally:
                self._metrics.admission(self._admission.in_flight, self._admission.depth())
                await self._metrics.observe_cache(self._app.cache)
            outcome.answer, outcome.queue_ms = answer, queue_ms
            outcome.seconds = time.perf_counter() - started
            describe_answer(span, answer, queue_ms)
        return answer, _fields(answer, context, queue_ms)

    async def _in_turn(
        self, priority: Priority, work: Callable[[], Awaitable[AgentAnswer]], reservation: Reservation | None
    ) -> tuple[AgentAnswer, float]:
        """The answer, and the milliseconds that it waited for its turn."""
        caller = current_request().caller
        place = self._admission.admit(
            priority.at_most(caller.max_priority),
            user=user_key(caller.principal.tenant, caller.principal.user),
            weight=caller.weight,
            deadline_s=self._limits.timeout_s,
        )
        try:
            async with asyncio.timeout(self._limits.timeout_s), AsyncExitStack() as stack:
                with tracing.span("admission", {"ragents.priority": priority.value}):
                    queue_ms = await stack.enter_async_context(place)
                self._metrics.admission(self._admission.in_flight, self._admission.depth())
                if reservation is not None:
                    reservation.begun = True
                return await work(), queue_ms
        except TimeoutError:
            raise DeadlineExceeded(
                f"no answer within {self._limits.timeout_s:g} s (serving.timeout_s); ask again later"
            ) from None

    def _check_length(self, query: str, *, field: str = "query") -> None:
        limit = self._limits.max_query_characters
        if len(query) > limit:
            raise InputError(
                f"{field} has {len(query)} characters; at most {limit} are taken: write a shorter one", field=field
            )


def _shown(event: AgentEvent) -> dict[str, Any]:
    if event.found is None:
        return {"text": event.text}
    sources = [SourceOut.model_validate(asdict(source)).model_dump(mode="json") for source in event.found.sources]
    return {"sources": sources, "confidence": round(event.found.confidence, 4)}


def _fields(answer: AgentAnswer, context: RequestContext, queue_ms: float) -> dict[str, Any]:
    """What both published shapes of an answer share."""
    response = answer.response
    return {
        "answer": answer.answer,
        "sources": [asdict(source) for source in response.sources],
        "citations": [asdict(citation) for citation in response.citations],
        "thread_id": answer.thread_id,
        "agent_type": answer.agent_type,
        "confidence": round(response.confidence, 4),
        "cache_age_s": response.cached_age_s,
        "cache_similarity": response.cached_similarity,
        "model": response.model,
        "usage": asdict(response.usage),
        "timings": {**response.timings, "queue_ms": queue_ms},
        "latency_ms": context.latency_ms,
        "request_id": context.request_id,
        "notes": list(response.notes),
        "finish_reason": response.ending,
        "pending": asdict(answer.pending) if answer.pending else None,
    }
