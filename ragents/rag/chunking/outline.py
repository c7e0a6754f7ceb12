"""Which headings a place in a document stands under."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

from markdown_it import MarkdownIt

LINE_END = re.compile(r"\r\n|\n|\r")


class Outline:
    """Headings go on from one block to the next."""

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
