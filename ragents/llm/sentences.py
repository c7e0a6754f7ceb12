"""Sentences of a Markdown passage, for answers and quotes."""

import re

# After . ! ? (and a closing quote or bracket) before something that begins a sentence; or at a line break of Markdown.
BOUNDARY = re.compile(
    r"(?<=[.!?])[\"')\]]?\s+(?=[\"'(\[*`]?[A-Z0-9À-ÖØ-Þ])|\n\s*\n|\n(?=\s*(?:[-*+]\s|[#|>]|\d+[.)]\s))"
)
UNDERLINED = re.compile(r"^([^\n|]+)\n(?:=+|-{3,})[ \t]*$", re.MULTILINE)
HEADING_LINE = re.compile(r"^( {0,3}#{1,6}[ \t][^\n]*)\n", re.MULTILINE)
HEADING = re.compile(r"^\s{0,3}#{1,6}\s")
LEAD = re.compile(r"^\s*(?:[-*+>]\s+|\d+[.)]\s+)")
RULE = re.compile(r"^[\s|:=~`*_-]+$")
MIN_WORDS = 3


def split_sentences(text: str) -> list[str]:
    """Headings, rules and fragments of fewer than three words are left out."""
    sentences = []
    text = HEADING_LINE.sub(r"\1\n\n", UNDERLINED.sub(r"# \1\n", text))  # a heading ends with its line
    for part in BOUNDARY.split(text):
        if HEADING.match(part) or RULE.match(part):
            continue
        sentence = " ".join(LEAD.sub("", part).split())
        if len(sentence.split()) >= MIN_WORDS:
            sentences.append(sentence)
    return sentences
