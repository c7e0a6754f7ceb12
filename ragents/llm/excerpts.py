"""Excerpts of the passages that bear on a question: which parts, beside which others, within how many characters.

The numbers were chosen on 109 questions about the documentation of four Python projects and on 472 of Chroma's
chunking evaluation: see docs/decisions/0037-answers-are-excerpts.md.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragents.llm.parts import Part, parts_of
from ragents.llm.passages import MARKER, Passage
from ragents.llm.wording import terms

MAX_SENTENCES = 16
"""Sentences embedded per answer; with 32 the answers were no better."""
MAX_CHARACTERS = 600
"""Of all parts together, unless the best one alone is longer."""
NEAR_BEST = 0.75
"""A further part is taken when it is worth at least this share of the best one."""
SHARED_WORDS = 0.5
"""What all of the question's words are worth, beside a cosine of 1."""
PER_RANK = 0.02
"""What each rank of the passage costs."""
UNKNOWN = 0.2
"""The cosine of a part that was not embedded."""
BESIDE, BEHIND = 0.2, 0.1
"""What a part gains beside one that was taken, in the same block (half of it in another), and behind it."""
NEEDED = 1.0
"""What it gains where one of the two only introduces the other, or it is an item of hardly a word: "Default: 5"."""
SAID_MARKER = re.compile(rf"[ \t]*{MARKER.pattern}")
"""In a passage it is a footnote or the like, and would cite another passage in the answer."""
LINE = "\n"

Place = tuple[int, int]
"""Index of a passage, index of a part in it."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Parts of one passage that follow each other, under the heading right before them."""

    marker: int
    parts: Sequence[Part]
    heading: str = ""

    def __str__(self) -> str:
        """Sentences run on; rows, code and the items of a list have lines of their own."""
        is_list = sum(part.kind == "item" for part in self.parts) > 1
        first = self.parts[0]
        text = first.laid_out if is_list else first.text
        for before, part in pairwise(self.parts):
            runs_on = part.kind == "sentence" and (before.kind == "sentence" or part.continues(before))
            text += (" " if runs_on else "\n") + (part.laid_out if is_list else part.text)
        if self.heading:
            text = f"{self.heading}:{LINE if first.kind == 'code' or is_list else ' '}{text}"
        text = SAID_MARKER.sub("", text)
        return f"{text}{LINE if self.parts[-1].kind == 'code' else ' '}[{self.marker}]"


class Candidates:
    """The parts of the passages, and which share of the question's words each has; rarer words count more.

    What stands in its title and headings, a part says too.
    """

    def __init__(self, question: str, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._parts = [parts_of(passage.text) for passage in passages]
        asked = terms(question)
        said = {at: asked & words for at, words in self._said()}
        count = Counter(word for words in said.values() for word in words)
        weights = {word: math.log(1 + len(said) / max(1, count[word])) for word in asked}
        whole = sum(weights.values()) or 1.0
        self._shares = {at: sum(weights[word] for word in words) / whole for at, words in said.items()}

    def to_embed(self) -> list[str]:
        """At most MAX_SENTENCES, each once: those of the parts that share most, of better passages first."""
        order = sorted(self._shares, key=lambda at: PER_RANK * at[0] - SHARED_WORDS * self._shares[at])
        return list(dict.fromkeys(sentence for at in order for sentence in self._part(at).sentences))[:MAX_SENTENCES]

    def best(self, cosines: Mapping[str, float]) -> list[Excerpt]:
        """What is worth most, in reading order. `cosines`: to the question, of the sentences that were embedded.

        Part after part within the room that is left, until the next is not worth its place. One that was not embedded
        is taken only beside another.
        """
        near = {
            at: max((cosines[s] for s in self._part(at).sentences if s in cosines), default=None) for at in self._shares
        }
        worth = {
            at: (UNKNOWN if cosine is None else cosine) + SHARED_WORDS * self._shares[at] - PER_RANK * at[0]
            for at, cosine in near.items()
        }
        chosen: set[Place] = set()
        said: set[str] = set()
        room, least = math.inf, -math.inf
        while True:
            left = {
                at: worth[at] + company
                for at in worth.keys() - chosen
                if len(self._part(at).text) <= room
                and self._part(at).text not in said
                and ((company := self._company(at, chosen)) or near[at] is not None)
            }
            place = max(left, key=lambda at: (left[at], at), default=None)
            if place is None or left[place] < least:
                return list(self._excerpts(sorted(chosen)))
            if not chosen:
                room, least = MAX_CHARACTERS, NEAR_BEST * worth[place]
            chosen.add(place)
            said.add(self._part(place).text)
            room -= len(self._part(place).text)

    def _said(self) -> Iterator[tuple[Place, set[str]]]:
        for n, (passage, parts) in enumerate(zip(self._passages, self._parts, strict=True)):
            above = terms("\n".join((passage.origin, *passage.headings)))
            heading = set[str]()
            for i, part in enumerate(parts):
                if part.kind == "heading":
                    heading = terms(part.text)
                else:
                    yield (n, i), terms(part.text) | heading | above

    def _part(self, at: Place) -> Part:
        return self._parts[at[0]][at[1]]

    def _company(self, at: Place, chosen: set[Place]) -> float:
        n, i = at
        part = self._part(at)
        before, behind = (self._part(side) if side in chosen else None for side in ((n, i - 1), (n, i + 1)))
        near = before or behind
        if near is None:
            return 0.0
        introduced = part.introduces if before is None else before.introduces
        if introduced or (near.block == part.block and part.is_fragment):
            return NEEDED
        beside = BESIDE if near.block == part.block else BESIDE / 2
        return beside if before is None or near.block != part.block else beside + BEHIND

    def _excerpts(self, places: Sequence[Place]) -> Iterator[Excerpt]:
        start = 0
        for end in range(1, len(places) + 1):
            n, i = places[end - 1]
            if end < len(places) and places[end] == (n, i + 1):
                continue
            parts = [self._part(at) for at in places[start:end]]
            above = places[start][1] - 1
            heading = self._parts[n][above] if above >= 0 else None
            name = heading.text if heading is not None and heading.kind == "heading" else ""
            yield Excerpt(self._passages[n].marker, parts, name)
            start = end


def joined(excerpts: Iterable[Excerpt]) -> str:
    """One that has lines stands apart from the others."""
    texts = [str(each) for each in excerpts]
    return ("\n\n" if any("\n" in text for text in texts) else " ").join(texts)
