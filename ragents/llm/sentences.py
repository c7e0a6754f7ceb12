"""Sentences of a Markdown passage, for answers and quotes."""

import re
from collections.abc import Iterator

from sentencex import get_sentence_boundaries

# After . ! ? (and a closing quote or bracket) before something that begins a sentence; or at a line break of Markdown.
BOUNDARY = re.compile(
    r"(?<=[.!?])[\"')\]]?\s+(?=[\"'(\[*`]?[A-Z0-9À-ÖØ-Þ])|\n\s*\n|\n(?=\s*(?:[-*+]\s|[#|>]|\d+[.)]\s))"
)
UNDERLINED = re.compile(r"^([^\n|]+)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE)
HEADING_LINE = re.compile(r"^( {0,3}#{1,6}[ \t][^\n]*)\n", re.MULTILINE)
HEADING = re.compile(r"^\s{0,3}#{1,6}\s")
LEAD = re.compile(r"^\s*(?:[-*+>]\s+|\d+[.)]\s+)")
RULE = re.compile(r"^[\s|:=~`*_-]+$")
LINE_START = re.compile(r"\s*(?:[-*+]\s|[#|>]|\d+[.)]\s)")
NUMBER = re.compile(r"\s*(?:>\s*)*\d+[.)]")
"""Of a list's item, or of the line that it begins."""
MIN_WORDS = 3
AROUND = 40
"""Characters on either side of a full stop that tell whether it ends a sentence."""
OPENING = "\"'([*`"
ABBREVIATED = re.compile(
    r"\b(?:approx|ca|cf|ch|e\.g|eq|i\.e|resp|sec|vol|z\.B|d\.h|bzw|inkl|vgl|Abs|Art|Bd)\.$", re.IGNORECASE
)
"""What sentencex 1.0 does not know in English, and what German readers would miss most."""


def split_sentences(text: str) -> list[str]:
    """Headings, rules and fragments of fewer than three words are left out."""
    sentences = []
    text = HEADING_LINE.sub(r"\1\n\n", UNDERLINED.sub(r"# \1\n", text))  # a heading ends with its line
    start = 0
    for boundary in (*boundaries(text), None):
        part = text[start : boundary.start() if boundary else len(text)]
        start = boundary.end() if boundary else len(text)
        if HEADING.match(part) or RULE.match(part):
            continue
        sentence = " ".join(LEAD.sub("", part).split())
        if len(sentence.split()) >= MIN_WORDS:
            sentences.append(sentence)
    return sentences


def boundaries(text: str) -> Iterator[re.Match[str]]:
    """What stands between two sentences or lines: not the space of "Dr. Berg", "hall No. 7" or "L. Meier"."""
    for found in BOUNDARY.finditer(text):
        if _ends_a_line(text, found) or _ends_a_sentence(text, found):
            yield found


def _ends_a_line(text: str, found: re.Match[str]) -> bool:
    lines = found[0].count("\n")
    return lines > 1 or (lines == 1 and LINE_START.match(text, found.end()) is not None)


def _ends_a_sentence(text: str, found: re.Match[str]) -> bool:
    before = text[max(0, found.start() - AROUND) : found.start()]
    if not before.endswith("."):
        return True
    if ABBREVIATED.search(before) or NUMBER.fullmatch(before.rpartition("\n")[2]):
        return False
    after = text[found.end() : found.end() + AROUND].lstrip(OPENING)
    ends = {each["end_index"] for each in get_sentence_boundaries("en", f"{before} {after}")}
    return not ends.isdisjoint((len(before), len(before) + 1))
