"""What the mock is told to do, and what it has seen."""

from typing import Any, Literal

from pydantic import BaseModel, Field

Fault = Literal[
    "400",
    "401",
    "429",
    "500",
    "503",
    "reset",
    "hang",
    "hang_midway",
    "reset_midway",
    "end_midway",
    "garbage",
    "garbage_midway",
    "empty",
    "no_done",
    "no_reason",
]
"""400, 401, 429 (with Retry-After), 500, 503: that status. reset: the connection is cut at once. hang: nothing is ever
said. ..._midway: after the first tokens. garbage: no JSON. empty: an answer without a choice. no_done: the stream ends
without its last line. no_reason: with it, but without a finish_reason; an answer that is whole has none either.
end_midway: the stream ends as if it were whole, and nothing says that it is."""


class ToolCall(BaseModel):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Step(BaseModel):
    """One answer. `content` words come one by one; `tool_calls` instead of content where there are any.

    `finish_reason`: what is said instead of "stop" or "tool_calls".
    `echo`: a pattern; what it last matches in the messages stands in `content` for {}.
    """

    content: str = "The passages tell. [1]"
    echo: str | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)
    fault: Fault | None = None
    retry_after_s: float | None = None
    finish_reason: str | None = None


class Script(BaseModel):
    """`steps` are taken in order, and the last one again and again. Times in seconds."""

    steps: list[Step] = Field(default_factory=lambda: [Step()])
    first_token_s: float = Field(default=0.0, ge=0)
    between_tokens_s: float = Field(default=0.0, ge=0)


class Seen(BaseModel):
    """Requests in the order of their arrival; how many streams began, were left by the caller, and ended."""

    requests: list[dict[str, Any]] = Field(default_factory=list)
    headers: list[dict[str, str]] = Field(default_factory=list)
    begun: int = 0
    hung_up: int = 0
    ended: int = 0
