"""Text blocks to chunks that respect Markdown structure, a ceiling of characters and the encoder's tokens."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from semantic_text_splitter import MarkdownSplitter, TextSplitter

from ragents.rag.types import Chunk, TextBlock

BLOCK_SEPARATOR = "\n\n"
"""Between blocks in a document's extracted text, which chunk offsets count in."""

SEGMENT = 100_000
LINE_END = re.compile(r"\r\n|\n|\r")

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class MarkdownChunker:
    """Cuts at the highest structure that fits: sections, blocks, sentences, words.

    A chunk never spans two blocks, so that its page is exact. One that has more tokens than the encoder takes is cut
    further, without overlap: its parts are chunks with offsets of their own, and nothing is lost.
    """

    count_tokens: CountTokens
    max_tokens: int
    chunk_size: int = 1000
    chunk_overlap: int = 200

    def split(self, blocks: Iterable[TextBlock]) -> Iterator[Chunk]:
        """Chunks in reading order; `text` equals extracted text[start:end]."""
        splitter = MarkdownSplitter(self.chunk_size, overlap=self.chunk_overlap)
        outline = _Outline()
        offset = position = 0
        for block in blocks:
            outline.enter(block.text)
            parts = [
                (begin + start, text)
                for begin, segment in _segments(block.text)
                # Blank lines at the end cost the square of their number: 32,000 took 28 s.
                for start, text in splitter.chunk_indices(segment.rstrip())
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


class _Outline:
    """Which headings a position stands under. Headings go on from one block to the next."""

    def __init__(self) -> None:
        self._parser = MarkdownIt("commonmark", {"maxNesting": 20}).disable("inline")
        self._stack: tuple[tuple[int, str], ...] = ()
        self._starts: list[int] = []
        self._paths: list[tuple[str, ...]] = []
        self._ends: list[int] = []

    def enter(self, text: str) -> None:
        stack = self._stack
        self._starts, self._ends, self._paths = [0], [0], [_names(stack)]
        for start, end, level, name in self._headings(text):
            stack = (*((lev, n) for lev, n in stack if lev < level), (level, name))
            self._starts.append(start)
            self._ends.append(end)
            self._paths.append(_names(stack))
        self._stack = stack

    def path_at(self, start: int, text: str) -> tuple[str, ...]:
        """Of the first content in the chunk: headings that the chunk begins with count."""
        index = bisect_right(self._starts, start) - 1
        while index + 1 < len(self._starts) and self._starts[index + 1] < start + len(text):
            between = text[max(0, self._ends[index] - start) : self._starts[index + 1] - start]
            if between.strip():
                break
            index += 1
        return self._paths[index]

    def _headings(self, text: str) -> Iterator[tuple[int, int, int, str]]:
        """(start, end, level, name) in characters."""
        if "#" not in text and "\n==" not in text and "\n--" not in text:
            return
        # Lines as CommonMark counts them; str.splitlines would also cut at form feeds and the like.
        starts = [0, *(line_end.end() for line_end in LINE_END.finditer(text)), len(text)]
        tokens = self._parser.parse(text)
        for token, content in pairwise(tokens):
            if token.type == "heading_open" and token.map is not None:
                first, last = (starts[min(line, len(starts) - 1)] for line in token.map)
                yield first, last, int(token.tag[1]), " ".join(content.content.split())


def _names(stack: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(name for _, name in stack if name)
