"""Tokens: as the model counted them, or estimated, and what they cost."""

import math
import string
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage

from ragents.llm.types import Price, Usage

LETTERS = (string.ascii_letters + string.whitespace).encode()
ASCII = bytes(range(128))
LETTERS_PER_TOKEN, BYTES_PER_TOKEN, SIGNS_PER_TOKEN = 3.5, 2.0, 1.25
"""ASCII letters and blanks; bytes of other scripts; digits and punctuation. So chosen that no count is too small:
estimate / true count was 1.0 to 1.5 for English, German, Markdown and Python, 1.0 to 1.8 for JSON and tables of
numbers, 1.0 to 4.8 for Arabic, Chinese, Hindi, Japanese and Russian, with the tokenizers of four model families."""
TOKENS_PER_MESSAGE = 8


def usage_of(prompt: Sequence[BaseMessage], answer: AIMessage, *, price: Price | None) -> Usage:
    """What the model says it took; estimated where it says nothing."""
    counted = answer.usage_metadata
    if counted:
        took, said = counted["input_tokens"], counted["output_tokens"]
    else:
        took, said = estimate_prompt(prompt), estimate_tokens(answer.text)
    return Usage(took, said, price.cost(took, said) if price else None, estimated=not counted)


def estimate_prompt(messages: Sequence[BaseMessage]) -> int:
    return sum(TOKENS_PER_MESSAGE + estimate_tokens(_all_text(message)) for message in messages)


def estimate_tokens(text: str) -> int:
    """Rather too many than too few, for any model: the tokenizer of a model behind an address is not known here."""
    data = text.encode("utf-8", "surrogatepass")
    foreign = len(data.translate(None, ASCII))
    signs = len(data.translate(None, LETTERS)) - foreign
    letters = len(data) - foreign - signs
    return math.ceil(letters / LETTERS_PER_TOKEN + foreign / BYTES_PER_TOKEN + signs / SIGNS_PER_TOKEN)


def characters_within(text: str, tokens: int) -> int:
    """How many of the first characters of `text` are estimated at `tokens` or fewer."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return low


def _all_text(message: BaseMessage) -> str:
    """The calls of tools too, which stand beside the text."""
    text = message.content if isinstance(message.content, str) else message.text  # `text` parses, which takes longer
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return text + "".join(f"{call['name']}{call['args']}" for call in calls)
