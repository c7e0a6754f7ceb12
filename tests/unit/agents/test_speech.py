"""What a reader sees of an answer while it is written."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from ragents.agents.speech import MarkerFilter, Speech
from ragents.agents.types import AgentAnswer, AgentEvent
from ragents.rag.answering import check_citations
from ragents.rag.types import RAGResponse, Source

SOURCES = tuple(Source(f"s{n}", "d", "u", "t", "Some text of it.", 1.0) for n in range(3))
texts = st.lists(st.sampled_from([*list("ab.[],! \n\t1239"), "[1]", "[9]", "[1, 2]", "[1,9]"]), max_size=40).map(
    "".join
)


def streamed(text: str, cuts: list[int]) -> str:
    filtered = MarkerFilter(len(SOURCES))
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return "".join(filtered.add(text[a:b]) for a, b in itertools.pairwise(edges)) + filtered.end()


@given(texts, st.lists(st.integers(0, 1000), max_size=20))
def test_what_is_streamed_is_the_checked_answer_however_it_is_cut(text: str, cuts: list[int]) -> None:
    assert streamed(text, cuts) == check_citations(text, SOURCES)[0]


async def said(spoken: str, answer: str) -> list[AgentEvent]:
    events: list[AgentEvent] = []

    async def emit(event: AgentEvent) -> None:
        events.append(event)

    speech = Speech(emit)
    for word in re.findall(r"\S+\s*|\s+", spoken):
        await speech.token(word, lambda: RAGResponse("q", SOURCES))
    await speech.end(AgentAnswer("t", "simple", RAGResponse("q", SOURCES, answer=answer)))
    return events


async def test_an_answer_that_no_model_wrote_is_told_whole_after_its_sources() -> None:
    events = await said("", "The documents do not tell.")
    assert [event.kind for event in events] == ["sources", "token", "done"]
    assert events[1].text == "The documents do not tell."


async def test_what_was_said_and_is_not_in_the_answer_is_named() -> None:
    events = await said("The sky is blue [1]. The sea is made of milk [2].", "The sky is blue [1].")
    assert events[-1].retracted == ("The sea is made of milk [2].",)
    assert events[-1].text == "The sky is blue [1]."


async def test_a_fragment_that_was_said_and_is_not_in_the_answer_is_named_too() -> None:
    assert (await said("The leave", "The documents do not tell."))[-1].retracted == ("The leave",)
    assert (await said("Yes. The sky is blue [1].", "The sky is blue [1]."))[-1].retracted == ("Yes.",)
    assert (await said("The sky", "The sky is blue [1]."))[-1].retracted == ()
    assert (await said("Yes. [1]", "Yes."))[-1].retracted == ()


async def test_nothing_is_said_twice() -> None:
    events = await said("The sky is blue [1].", "The sky is blue [1].")
    assert "".join(event.text for event in events if event.kind == "token") == "The sky is blue [1]."
    assert events[-1].retracted == ()
