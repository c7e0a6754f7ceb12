"""Parent windows: a short chunk is found best, and read best with what stands around it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ragents.rag.store.types import Neighbourhood
from ragents.rag.types import Chunk, Source


def widen(sources: Sequence[Source], around: Mapping[str, Neighbourhood]) -> tuple[Source, ...]:
    """Each source with the text of its neighbours; id, page, headings and score stay those of what was found.

    No chunk is shown twice: a window ends where another source begins, or where a better one's window lies. A source
    that has no neighbourhood (its document was replaced meanwhile) stays as it was found.
    """
    shown = {(source.document_id, around[source.id].position) for source in sources if source.id in around}
    return tuple(_widened(source, around.get(source.id), shown) for source in sources)


def _widened(source: Source, found: Neighbourhood | None, shown: set[tuple[str, int]]) -> Source:
    if found is None:
        return source
    by_position = {chunk.position: chunk for chunk in found.chunks}
    window = [by_position[found.position]]
    for step in (-1, 1):
        position = found.position + step
        while position in by_position and (source.document_id, position) not in shown:
            shown.add((source.document_id, position))
            window.append(by_position[position])
            position += step
    return replace(source, text=joined(sorted(window, key=lambda chunk: chunk.position)))


def joined(chunks: Iterable[Chunk]) -> str:
    """Of neighbouring chunks, what two of them share once. Between two that do not touch stands a blank line."""
    text, end = "", None
    for chunk in chunks:
        if end is None:
            text = chunk.text
        elif chunk.start < end:
            text += chunk.text[end - chunk.start :]
        else:
            text += (" " if chunk.start - end <= 1 else "\n\n") + chunk.text
        end = max(chunk.end, end or 0)
    return text
