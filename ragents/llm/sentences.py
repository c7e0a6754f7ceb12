"""Sentences of a Markdown passage, for answers and quotes."""

import re

# After . ! ? (and a closing quote or bracket) before something that begins a sentence; or at a line break of Markdown.
BOUNDARY = re.compile(r"(?<=[.!?])[\"')\]]?\s+(?=[\"'(\[*`]?[A-Z0-9À-ÖØ-Þ])|\n\s*\n|\n(?=\s*(?:[-*+#|>]|\d+[.)])\s?)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s")
LEAD = re.compile(r"^\s*(?:[-*+>]\s+|\d+[.)]\s+)")
RULE = re.compile(r"^[\s|:=~`*_-]+$")
MIN_WORDS = 3


def split_sentences(text: str) -> list[str]:
    """Headings, rules and fragments of fewer than three words are left out."""
    sentences = []
    for part in BOUNDARY.split(text):
        if HEADING.match(part) or RULE.match(part):
            continue
        sentence = " ".join(LEAD.sub("", part).split())
        if len(sentence.split()) >= MIN_WORDS:
            sentences.append(sentence)
    return sentences
