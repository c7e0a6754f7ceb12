"""OpenAI's chat completions: an agent by the name of its model, so that OpenAI's clients work unchanged.

The client keeps the conversation and sends it whole; with `ragents: {"thread_id": ...}` the server keeps it, and only
the last message counts. What OpenAI has no field for comes in the field `ragents`.
"""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragents.deployment.http import current_request
from ragents.deployment.parsing import parse_value
from ragents.deployment.rate_limiting.types import Priority
from ragents.deployment.runs import Event
from ragents.deployment.schemas import Name, QueryRequest, QueryResponse, ThreadId
from ragents.errors import InputError, NotFound

if TYPE_CHECKING:  # BentoML's parent process imports this as well
    from langchain_core.messages import BaseMessage

OWNER = "ragents"
LEFT_OUT = {"answer", "agent_type", "finish_reason"}
"""Of an answer: what OpenAI has fields for."""


class ModelNotFound(NotFound):
    code = "model_not_found"
    field = "model"


class ContentPart(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class Extension(BaseModel):
    """`ragents` of a request: the fields of POST /query that OpenAI has none for."""

    model_config = ConfigDict(extra="forbid")

    thread_id: ThreadId | None = None
    collection: Name | None = None
    top_k: int | None = None
    filters: dict[str, Any] | None = None
    use_cache: bool = True
    priority: Priority = Priority.NORMAL


class ChatRequest(BaseModel):
    """POST /v1/chat/completions. What tunes sampling is accepted and left to the server's settings."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=100_000)
    n: int = 1
    tools: list[dict[str, Any]] = []
    ragents: Extension = Extension()

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def question(self) -> tuple[QueryRequest, "list[BaseMessage]"]:
        """The last message as a question, and what was said before. InputError for what no agent can be asked."""
        if self.n != 1:
            raise InputError(f"n = {self.n}: one answer is given", field="n")
        if self.tools:
            raise InputError("tools: the agents have tools of their own; leave it out", field="tools")
        said = [_message(n, each) for n, each in enumerate(self.messages)]
        last = said.pop()
        if last.type != "human":
            raise InputError("messages: the last one must be the user's question", field="messages")
        asked = {
            **self.ragents.model_dump(),
            "query": last.text,
            "agent_type": self.model,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
        }
        return parse_value(QueryRequest, asked), [] if self.ragents.thread_id else said


def completion(answer: QueryResponse) -> dict[str, Any]:
    given = answer.model_dump(mode="json")
    return {
        **_head(answer.request_id, answer.agent_type, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.answer, "refusal": None},
                "finish_reason": answer.finish_reason,
                "logprobs": None,
            }
        ],
        "usage": _usage(given["usage"]),
        "ragents": _extension(given),
    }


async def chunks(events: AsyncGenerator[Event], *, model: str, include_usage: bool) -> AsyncGenerator[str]:
    """The data of each server-sent event. Statuses come as chunks without text, which clients pass over."""
    request_id = current_request().request_id

    def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        value = {**_head(request_id, model, "chat.completion.chunk"), "choices": [choice], **fields}
        return json.dumps(value, ensure_ascii=False)

    yield chunk({"role": "assistant", "content": ""})
    async with aclosing(events):
        async for event in events:
            data = json.loads(event.data)
            match event.name:
                case "token":
                    yield chunk({"content": data["text"]})
                case "error":
                    yield json.dumps(data, ensure_ascii=False)
                    return  # without [DONE]: the client raises
                case "done":
                    yield chunk({}, data["finish_reason"], ragents=_extension(data))
                    if include_usage:
                        usage = {"choices": [], "usage": _usage(data["usage"])}
                        yield json.dumps({**_head(request_id, model, "chat.completion.chunk"), **usage})
                case name:
                    yield chunk({}, ragents={name: data["text"]} if name == "status" else data)
    yield "[DONE]"


def model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def _message(number: int, message: ChatMessage) -> "BaseMessage":
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # noqa: PLC0415  # see the imports

    text = message.content or ""
    if isinstance(text, list):
        for part in text:
            if part.type != "text":
                raise InputError(
                    f"messages.{number}.content: a part of type {part.type!r}; text is taken", field="messages"
                )
        text = "\n".join(part.text for part in text)
    match message.role:
        case "user":
            return HumanMessage(text)
        case "assistant":
            return AIMessage(text)
        case _:
            return SystemMessage(text)


def _head(request_id: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": model}


def _usage(counted: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = counted["prompt_tokens"], counted["completion_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _extension(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in LEFT_OUT}
