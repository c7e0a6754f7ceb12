"""Speech: the answer of a turn while it is being written, as its reader may see it."""

import re
from collections.abc import Awaitable, Callable
from itertools import pairwise

from ragents.agents.types import AgentAnswer, AgentEvent
from ragents.llm.passages import MARKER
from ragents.llm.sentences import MIN_WORDS, boundaries, split_sentences
from ragents.rag.answering import TOUCHED, kept_markers, tidied
from ragents.rag.types import RAGResponse

Emit = Callable[[AgentEvent], Awaitable[None]]

MAYBE_MARKER = re.compile(r"\[[\d\s,]*\Z")
"""The rest of the text, as long as what comes next may still make a marker of it."""
LEADING = re.compile(rf"\A[\s{TOUCHED}]+")
BLANKS = re.compile(rf"[\s{TOUCHED}]+\Z")


class MarkerFilter:
    """Text in pieces, without the markers of passages that were not given.

    However the text is cut into pieces, what comes out in all is what `ragents.rag.answering.check_citations` makes of
    the whole. What cannot be judged yet is held back.
    """

    def __init__(self, sources: int) -> None:
        self._sources = sources
        self._held = ""
        self._blanks = ""
        self._begun = False

    def add(self, text: str) -> str:
        self._held += text.replace(TOUCHED, "")
        out = []
        while (at := self._held.find("[")) >= 0:
            out.append(self._held[:at])
            self._held = self._held[at:]
            if match := MARKER.match(self._held):
                numbers = (int(n) for n in match[1].split(","))
                out.append(kept_markers([n for n in numbers if 1 <= n <= self._sources]))
                self._held = self._held[match.end() :]
            elif MAYBE_MARKER.match(self._held):
                break
            else:
                out.append("[")
                self._held = self._held[1:]
        else:
            out.append(self._held)
            self._held = ""
        return self._trimmed("".join(out))

    def end(self) -> str:
        rest, self._held = self._held, ""
        return self._trimmed(rest)

    def _trimmed(self, text: str) -> str:
        """Blanks wait for what follows them: behind a marker they go before a full stop, and all do at both ends."""
        text = self._blanks + text
        self._blanks = ""
        if not self._begun:
            text = LEADING.sub("", text)
        if blanks := BLANKS.search(text):
            self._blanks, text = blanks[0], text[: blanks.start()]
        self._begun = self._begun or bool(text)
        return tidied(text)


class Speech:
    """Says a turn to `emit`: sources before the first token, known markers only, and what was retracted at the end.

    One per turn; whoever asked for the turn calls `end` with its answer.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._filter: MarkerFilter | None = None
        self.spoken = ""

    async def status(self, text: str) -> None:
        await self._emit(AgentEvent("status", text))

    async def token(self, text: str, found: Callable[[], RAGResponse], *, node: str = "") -> None:
        """`found`: what the turn has found by now, asked for before the first token."""
        if self._filter is None:
            self._filter = await self._begin(found())
        await self._say(self._filter.add(text), node)

    async def end(self, answer: AgentAnswer) -> None:
        """The rest of the answer if it goes on from what was said, and "done" with what was said and is not in it."""
        response = answer.response
        told = response.answer or ""
        if self._filter is None:
            self._filter = await self._begin(response)
        else:
            await self._say(self._filter.end(), "")
        if told.startswith(self.spoken):
            await self._say(told[len(self.spoken) :], "")
        whole = " ".join(told.split())
        said = (*split_sentences(self.spoken), *_fragments(self.spoken))
        retracted = tuple(each for each in said if each not in whole)
        await self._emit(AgentEvent("done", told, answer=answer, retracted=retracted))

    async def _begin(self, found: RAGResponse) -> MarkerFilter:
        await self._emit(AgentEvent("sources", found=found))
        return MarkerFilter(len(found.sources))

    async def _say(self, text: str, node: str) -> None:
        if text:
            self.spoken += text
            await self._emit(AgentEvent("token", text, node=node))


def _fragments(text: str) -> list[str]:
    """What stands between `text`'s sentences and is too short to be one, such as its end where it was cut off."""
    edges = [(0, 0), *(each.span() for each in boundaries(text)), (len(text), len(text))]
    parts = [text[start:end].split() for (_, start), (end, _) in pairwise(edges)]
    short = [" ".join(words) for words in parts if len(words) < MIN_WORDS]
    return [each for each in short if any(map(str.isalnum, MARKER.sub("", each)))]
