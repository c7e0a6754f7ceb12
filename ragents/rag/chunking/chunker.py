"""Chunks of a document: cut by one of the ways of cutting.py, within the encoder's tokens, true to their places."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from semantic_text_splitter import TextSplitter

from ragents.rag.chunking.outline import Outline
from ragents.rag.types import Chunk, TextBlock

BLOCK_SEPARATOR = "\n\n"
"""Between blocks in a document's extracted text, which chunk offsets count in."""

SEGMENT = 100_000

CountTokens = Callable[[Sequence[str]], list[int]]
Pieces = Iterable[tuple[int, str]]
"""(start, text), in the order of the text that they are cut from."""
Cut = Callable[[str], Pieces]


@dataclass(frozen=True, slots=True)
class Chunker:
    """A chunk never spans two blocks, so that its page is exact. One that has more tokens than the encoder takes is cut
    further, without overlap: its parts are chunks with offsets of their own, and nothing is lost.
    """

    cut: Cut
    count_tokens: CountTokens
    max_tokens: int

    def split(self, blocks: Iterable[TextBlock]) -> Iterator[Chunk]:
        """Chunks in reading order; `text` equals extracted text[start:end]. Blocking."""
        outline = Outline()
        offset = position = 0
        for block in blocks:
            outline.enter(block.text)
            parts = [
                (begin + start, text)
                for begin, segment in _segments(block.text)
                # Blank lines at the end cost the square of their number: 32,000 took 28 s.
                for start, text in self.cut(segment.rstrip())
            ]
            for start, text in self._within_tokens(parts):
                yield Chunk(
                    position=position,
                    text=text,
                    start=offset + start,
                    end=offset + start + len(text),
                    page=block.page,
                    headings=outline.path_at(start, text),
                )
                position += 1
            offset += len(block.text) + len(BLOCK_SEPARATOR)

    def _within_tokens(self, parts: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        counts = self.count_tokens([text for _, text in parts])
        for (start, text), tokens in zip(parts, counts, strict=True):
            if tokens <= self.max_tokens:
                yield start, text
            else:
                splitter = TextSplitter.from_callback(lambda part: self.count_tokens([part])[0], self.max_tokens)
                for inner, part in splitter.chunk_indices(text):
                    yield from self._halved(start + inner, part)

    def _halved(self, start: int, text: str) -> Iterator[tuple[int, str]]:
        """The splitter can overshoot by a token, where counts of parts do not add up to the count of the whole."""
        if len(text) == 1 or self.count_tokens([text])[0] <= self.max_tokens:
            yield start, text
            return
        middle = len(text) // 2
        for begin, end in ((0, middle), (middle, len(text))):
            if text[begin:end].strip():
                yield from self._halved(start + begin, text[begin:end])


def _segments(text: str) -> Iterator[tuple[int, str]]:
    """Runs of at most SEGMENT characters, cut at a blank line, a line end or a space where there is one.

    The splitter's time grows with the square of a text without structure: 1.5 s for 400,000 equal characters.
    """
    start = 0
    while len(text) - start > SEGMENT:
        window = text[start : start + SEGMENT]
        cut = next((at + 1 for mark in ("\n\n", "\n", " ") if (at := window.rfind(mark, SEGMENT // 2)) > 0), SEGMENT)
        yield start, window[:cut]
        start += cut
    yield start, text[start:]


def extracted_text(blocks: Iterable[TextBlock]) -> str:
    """The text that chunk offsets count in."""
    return BLOCK_SEPARATOR.join(block.text for block in blocks)
