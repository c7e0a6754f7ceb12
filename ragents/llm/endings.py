"""How a model's answer ended, in the words of OpenAI and of the providers that LangChain knows."""

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from ragents.llm.failures import Unfinished
from ragents.llm.types import Ending

KEYS = ("finish_reason", "stop_reason", "done_reason", "stopReason")
"""OpenAI, Google and Mistral; Anthropic; Ollama; Bedrock."""
LENGTH = {"length", "max_tokens", "model_length", "model_context_window_exceeded"}
FILTERED = {
    "content_filter",
    "content_filtered",
    "guardrail_intervened",
    "refusal",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
}
BROKEN = {"abort", "error", "insufficient_system_resource"}
"""vLLM, several gateways, DeepSeek: the server gave up."""
CUT_SHORT: dict[Ending, str] = {
    "length": "the answer is cut short: the model reached its limit (max_tokens, or its window)",
    "content_filter": "the answer is cut short: the model's content filter stopped it",
}


def ending_of(pieces: Sequence[BaseMessage], *, told: bool) -> Ending:
    """Of a whole answer, or of the pieces of one.

    `told`: the server must say how it ended, since nothing else tells a whole stream from one that was cut. Raises
    Unfinished for one that was given up or, with `told`, has no word on its end.
    """
    # Not of the message that the pieces make: LangChain joins the words of pieces that repeat it, "stop" to "stopstop".
    said = [piece.response_metadata.get(key) for piece in pieces for key in KEYS]
    reason = str(next((each for each in reversed(said) if each), "")).lower()
    if reason in BROKEN or (told and not reason):
        raise Unfinished
    if reason in LENGTH:
        return "length"
    return "content_filter" if reason in FILTERED else "stop"
