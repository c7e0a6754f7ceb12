"""Parts of a Markdown passage in reading order: what an excerpt is made of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ragents.llm.passages import MARKER
from ragents.llm.sentences import HEADING, HEADING_LINE, LEAD, MIN_WORDS, RULE, UNDERLINED, boundaries, split_sentences

Kind = Literal["heading", "sentence", "item", "row", "code"]

FENCE = re.compile(r"^[ \t]*(```|~~~)[`~]*[ \t]*(\S*)[^\n]*$", re.MULTILINE)
"""Groups: the mark, and the language that only an opening fence names (CommonMark 4.5)."""
LINE_ENDS = "\r\n"
DELIMITER = re.compile(r"^\|[\s|:-]*-[\s|:-]*$")
"""The line of a table under the names of its columns."""
HASHES = re.compile(r"^#{1,6}\s+")


@dataclass(frozen=True, slots=True)
class Part:
    """`text` as it is quoted on its own, `laid_out` as it is quoted in a list: with its mark.

    `sentences` are those of `split_sentences` that it holds: what of it is embedded. Parts of one paragraph, or of a
    list, a table and the code that follows without a blank line, have one `block`. `heading` is the nearest above it
    in the passage; `columns` are the lines of its table that name them, which say nothing alone and are no part.
    """

    kind: Kind
    text: str
    laid_out: str
    sentences: tuple[str, ...]
    block: int
    heading: str = ""
    columns: str = ""

    def shares_table(self, other: "Part") -> bool:
        return self.kind == other.kind == "row" and self.block == other.block

    @property
    def around(self) -> str:
        """What it says too, without repeating it."""
        return f"{self.heading}\n{self.columns}"

    @property
    def introduces(self) -> bool:
        """It says nothing without what comes next."""
        return self.text.rstrip("*_ ").endswith((":", "...", "…"))

    @property
    def is_fragment(self) -> bool:
        """An item of fewer than three words, which says something among the others only."""
        return self.kind == "item" and not self.sentences

    @property
    def is_step(self) -> bool:
        """An item with a number, of which the order matters."""
        return self.kind == "item" and self.laid_out[:1].isdigit()

    def continues(self, before: "Part") -> bool:
        """Whether it is the next sentence of an item."""
        return self.kind == "sentence" and before.kind == "item" and before.block == self.block


def parts_of(text: str) -> list[Part]:
    """Code between fences is one part. Left out: rules, and code that is empty or would read as citing, as "x[3]"."""
    parts: list[Part] = []
    block = 0
    for language, run in _runs(text):
        if language is None:
            block = _read_prose(run, parts, block)
        elif run.strip() and not MARKER.search(run):
            fenced = f"```{language}\n{run.strip(LINE_ENDS)}\n```"
            parts.append(Part("code", fenced, fenced, tuple(split_sentences(fenced)), block, _heading_over(parts)))
    return parts


def _runs(text: str) -> Iterator[tuple[str | None, str]]:
    """(the language of code, which may be empty, or None for prose; what stands between fences or around them)."""
    fences = list(FENCE.finditer(text))
    # A passage may begin or end inside of code.
    language = "" if len(fences) % 2 and not fences[0][2] else None
    start = 0
    for fence in fences:
        if language is not None and fence[2]:
            continue  # a line of the code itself
        yield language, text[start : fence.start()]
        language, start = fence[2] if language is None else None, fence.end()
    yield language, text[start:]


def _read_prose(run: str, parts: list[Part], block: int) -> int:
    run = HEADING_LINE.sub(r"\1\n\n", UNDERLINED.sub(r"# \1\n", run))
    start = 0
    columns = ""
    for boundary in (*boundaries(run), None):
        piece = run[start : boundary.start() if boundary else len(run)]
        between = boundary[0] if boundary else ""
        closing = between[:1].strip()  # a quotation mark or bracket behind the full stop
        start = boundary.end() if boundary else len(run)
        whole = " ".join(piece.split())
        if HEADING.match(piece.lstrip("\n")):
            name = HASHES.sub("", whole)
            parts.append(Part("heading", name, name, (), block))
            block += 1
            columns = ""
        elif DELIMITER.match(whole) and parts and _may_name_columns(parts, block):
            columns = f"{parts.pop().text}\n{whole}"
        elif whole and not RULE.match(piece):
            _add(whole, " ".join(LEAD.sub("", piece).split()), parts, block, closing)
            if columns and parts[-1].kind == "row":
                parts[-1] = replace(parts[-1], columns=columns)
        if between.count("\n") > 1:
            block += 1
            columns = ""
    return block


def _add(whole: str, sentence: str, parts: list[Part], block: int, closing: str) -> None:
    kind: Kind = "row" if whole.startswith("|") else "sentence" if whole == sentence else "item"
    if len(sentence.split()) >= MIN_WORDS:
        parts.append(Part(kind, sentence + closing, whole + closing, (sentence,), block, _heading_over(parts)))
        return
    last = parts[-1] if parts else None
    if kind == "sentence" and last is not None and last.kind in ("sentence", "item") and last.block == block:
        # "(default 20)" belongs to what it follows.
        more = f" {whole}{closing}"
        parts[-1] = replace(last, text=last.text + more, laid_out=last.laid_out + more)
        return
    parts.append(Part(kind, sentence + closing, whole + closing, (), block, _heading_over(parts)))


def _heading_over(parts: Sequence[Part]) -> str:
    """Of what comes after `parts`."""
    last = parts[-1] if parts else None
    return "" if last is None else last.text if last.kind == "heading" else last.heading


def _may_name_columns(parts: Sequence[Part], block: int) -> bool:
    """Whether the last one can be the first line of a table, which a second one under it cannot be."""
    last = parts[-1]
    return last.kind == "row" and last.block == block and not last.columns
