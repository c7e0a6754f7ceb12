"""What the span of a question says about its answer."""

from opentelemetry.trace import Span

from ragents.agents.types import AgentAnswer
from ragents.tracing import OUTPUT, Value, tell


def describe_answer(span: Span, answer: AgentAnswer, queue_ms: float) -> None:
    if not span.is_recording():
        return
    response = answer.response
    attributes: dict[str, Value | None] = {
        "gen_ai.agent.name": answer.agent_type,
        "gen_ai.conversation.id": answer.thread_id,
        "gen_ai.response.model": response.model,
        "gen_ai.usage.input_tokens": response.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": response.usage.completion_tokens,
        "ragents.cost_usd": response.usage.cost_usd,
        "ragents.cached": response.cached,
        "ragents.confidence": round(response.confidence, 4),
        "ragents.sources": len(response.sources),
        "ragents.queue_ms": round(queue_ms, 3),
        "ragents.pending": answer.pending is not None or None,
    }
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    tell(span, OUTPUT, lambda: answer.answer)
