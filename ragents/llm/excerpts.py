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
"""Of all parts together, unless the best one alone is longer; headings and names of columns come on top."""
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
"""What it gains where one of the two only introduces the other, where it is the next of the steps that were introduced,
or where it is an item of hardly a word: "Default: 5"."""
SAID_MARKER = re.compile(rf"[ \t]*{MARKER.pattern}")
"""In a passage it is a footnote or the like, and would cite another passage in the answer."""
LINE, PARAGRAPH = "\n", "\n\n"

Place = tuple[int, int]
"""Index of a passage, index of a part in it."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Parts of one passage that follow each other, or rows of one table, and the heading to name before them."""

    marker: int
    parts: Sequence[Part]
    heading: str = ""

    def __str__(self) -> str:
        """Sentences run on; code and the items of a list have lines of their own, rows the paragraph of a table."""
        is_list = sum(part.kind == "item" for part in self.parts) > 1
        first, last = self.parts[0], self.parts[-1]
        text = self._told(first, is_list=is_list)
        for before, part in pairwise(self.parts):
            if part.shares_table(before):
                text += LINE + part.text
                continue
            runs_on = part.kind == "sentence" and (before.kind == "sentence" or part.continues(before))
            between = PARAGRAPH if "row" in (before.kind, part.kind) else " " if runs_on else LINE
            text += between + self._told(part, is_list=is_list)
        if self.heading:
            between = PARAGRAPH if first.kind == "row" else LINE if first.kind == "code" or is_list else " "
            text = f"{self.heading}:{between}{text}"
        text = SAID_MARKER.sub("", text)
        # On the line of a row or right below it, the marker would be one more cell of the table.
        return f"{text}{PARAGRAPH if last.kind == 'row' else LINE if last.kind == 'code' else ' '}[{self.marker}]"

    def _told(self, part: Part, *, is_list: bool) -> str:
        text = part.laid_out if is_list else part.text
        return f"{part.columns}{LINE}{text}" if part.columns else text


class Candidates:
    """The parts of the passages, and which share of the question's words each has; rarer words count more.

    What stands in its title and headings, and what its table calls its columns, a part says too.
    """

    def __init__(self, question: str, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._parts = [parts_of(passage.text) for passage in passages]
        asked = terms(question)
        said = {at: asked & words for at, words in self._said()}
        count = Counter(word for words in said.values() for word in words)
        self._weights = {word: math.log(1 + len(said) / max(1, count[word])) for word in asked}
        whole = sum(self._weights.values()) or 1.0
        self._shares = {at: sum(self._weights[word] for word in words) / whole for at, words in said.items()}

    def to_embed(self) -> list[str]:
        """At most MAX_SENTENCES, each once: those of the parts that share most, of better passages first."""
        order = sorted(self._shares, key=lambda at: PER_RANK * at[0] - SHARED_WORDS * self._shares[at])
        return list(dict.fromkeys(sentence for at in order for sentence in self._part(at).sentences))[:MAX_SENTENCES]

    def best(self, cosines: Mapping[str, float]) -> list[Excerpt]:
        """What is worth most, in reading order, but first the sections that the question names.

        `cosines`: to the question, of the sentences that were embedded.

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
                return self._under_headings(list(self._runs(sorted(chosen))))
            if not chosen:
                room, least = MAX_CHARACTERS, NEAR_BEST * worth[place]
            chosen.add(place)
            said.add(self._part(place).text)
            room -= len(self._part(place).text)

    def _said(self) -> Iterator[tuple[Place, set[str]]]:
        for n, (passage, parts) in enumerate(zip(self._passages, self._parts, strict=True)):
            above = terms("\n".join((passage.origin, *passage.headings)))
            for i, part in enumerate(parts):
                if part.kind != "heading":
                    yield (n, i), terms(f"{part.text}\n{part.around}") | above

    def _part(self, at: Place) -> Part:
        return self._parts[at[0]][at[1]]

    def _company(self, at: Place, chosen: set[Place]) -> float:
        n, i = at
        part = self._part(at)
        before, behind = (self._part(side) if side in chosen else None for side in ((n, i - 1), (n, i + 1)))
        near = before or behind
        if near is None:
            return 0.0
        if part.shares_table(near) and self._shares[at] < max(
            self._shares[side] for side in ((n, i - 1), (n, i + 1)) if side in chosen
        ):
            return 0.0  # another row than the one that was asked for
        introduced = part.introduces if before is None else before.introduces
        if introduced or (near.block == part.block and part.is_fragment) or self._is_next_step(at, chosen):
            return NEEDED
        beside = BESIDE if near.block == part.block else BESIDE / 2
        return beside if before is None or near.block != part.block else beside + BEHIND

    def _is_next_step(self, at: Place, chosen: set[Place]) -> bool:
        """Whether the steps before it are told, from what introduces them on."""
        n, i = at
        block = self._part(at).block
        while self._part((n, i)).is_step and self._part((n, i)).block == block and (n, i - 1) in chosen:
            i -= 1
        return i < at[1] and self._part((n, i)).introduces

    def _runs(self, places: Sequence[Place]) -> Iterator[list[Place]]:
        """Places that are told in one excerpt."""
        run: list[Place] = []
        for n, i in places:
            goes_on = (
                run
                and run[-1][0] == n
                and (run[-1][1] == i - 1 or self._part((n, i)).shares_table(self._part(run[-1])))
            )
            if goes_on:
                run.append((n, i))
                continue
            if run:
                yield run
            run = [(n, i)]
        if run:
            yield run

    def _under_headings(self, runs: Sequence[Sequence[Place]]) -> list[Excerpt]:
        """A heading is named where it stands right above, and everywhere if what is told is of several sections."""
        if len({self._section(run[0]) for run in runs}) <= 1:
            return [self._excerpt(run, self._right_above(run[0])) for run in runs]
        in_order = sorted(runs, key=lambda run: -self._asked_for(run[0]))
        return [self._excerpt(run, self._section(run[0])) for run in in_order]

    def _excerpt(self, run: Sequence[Place], heading: str) -> Excerpt:
        return Excerpt(self._passages[run[0][0]].marker, [self._part(at) for at in run], heading)

    def _section(self, at: Place) -> str:
        headings = self._passages[at[0]].headings
        return self._part(at).heading or (headings[-1] if headings else "")

    def _right_above(self, at: Place) -> str:
        n, i = at
        return self._part((n, i - 1)).text if i and self._part((n, i - 1)).kind == "heading" else ""

    def _asked_for(self, at: Place) -> float:
        """What the words of the question weigh that the headings over it have."""
        headings = terms("\n".join((*self._passages[at[0]].headings, self._part(at).heading)))
        return sum(weight for word, weight in self._weights.items() if word in headings)


def joined(excerpts: Iterable[Excerpt]) -> str:
    """One that has lines stands apart from the others."""
    texts = [str(each) for each in excerpts]
    return ("\n\n" if any("\n" in text for text in texts) else " ").join(texts)
