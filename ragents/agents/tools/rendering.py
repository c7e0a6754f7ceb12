"""How a tool's result reads to a model: its text, and its passages fenced and numbered through the whole turn."""

from collections.abc import Sequence

from ragents.agents.tools.types import ToolResult
from ragents.llm.passages import Passage, fence
from ragents.rag.prompt import origin_of
from ragents.rag.types import Source

MAX_PASSAGES_TEXT = 8_000


def rendered(result: ToolResult, known: Sequence[Source]) -> tuple[str, tuple[Source, ...]]:
    """The text for the model, and `known` with what is new: known[0] is passage [1].

    A passage that was shown before keeps its number and is not shown again.
    """
    numbers = {source.id: n for n, source in enumerate(known, start=1)}
    shown, again, left_out, room = list[Passage](), list[str](), 0, MAX_PASSAGES_TEXT
    sources = list(known)
    for source in result.sources:
        if source.id in numbers:
            again.append(f"[{numbers[source.id]}]")
            continue
        if shown and len(source.text) > room:
            left_out += 1
            continue
        sources.append(source)
        numbers[source.id] = len(sources)
        shown.append(Passage(len(sources), _cut(source.text, room), origin_of(source)))
        room -= len(source.text)
    parts = [
        result.text,
        f"Shown before: {', '.join(again)}." if again else "",
        fence(shown),
        f"({left_out} more passages left out for their length)" if left_out else "",
    ]
    return "\n\n".join(part for part in parts if part), tuple(sources)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} (cut: {len(text) - limit} more characters)"
