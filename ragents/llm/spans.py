"""One call of a model as a span: which model, its tokens, its price, and its words where they are asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from opentelemetry.trace import SpanKind

from ragents.llm.endpoints import NamedModel
from ragents.llm.types import Usage
from ragents.tracing import INPUT, OUTPUT, span, tell, tell_json

Told = Callable[[AIMessage, Usage], None]
ROLES = {"human": "user", "ai": "assistant"}


@contextmanager
def called(named: NamedModel, messages: Sequence[BaseMessage]) -> Iterator[Told]:
    """Each attempt is a span of its own. What is yielded is told the answer."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": named.provider or named.model._llm_type,
        "gen_ai.request.model": named.name,
    }
    with span(f"chat {named.name}", attributes, kind=SpanKind.CLIENT) as opened:
        tell_json(opened, INPUT, lambda: {"messages": [_shown(message) for message in messages]})

        def told(message: AIMessage, usage: Usage) -> None:
            if not opened.is_recording():
                return
            opened.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            opened.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
            opened.set_attribute("ragents.usage.estimated", usage.estimated)
            if usage.cost_usd is not None:
                opened.set_attribute("ragents.cost_usd", usage.cost_usd)
            if answered := message.response_metadata.get("model_name"):
                opened.set_attribute("gen_ai.response.model", str(answered))
            if message.tool_calls:
                tell_json(opened, OUTPUT, lambda: {"tool_calls": message.tool_calls, "text": message.text})
            else:
                tell(opened, OUTPUT, lambda: message.text)

        yield told


def _shown(message: BaseMessage) -> dict[str, Any]:
    return {"role": ROLES.get(message.type, message.type), "content": message.text}
