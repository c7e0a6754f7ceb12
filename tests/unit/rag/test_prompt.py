"""Prompts stay within the model's window: whatever comes, nothing overflows and nothing is cut without saying so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from ragents.agents.react.messages import build_prompt as build_react_prompt
from ragents.errors import InputError, ModelUnavailable
from ragents.llm.client import LLMClient, NamedModel
from ragents.llm.usage import characters_within, estimate_prompt, estimate_tokens
from ragents.rag.prompt import build_prompt, within_window
from ragents.rag.types import RAGResponse, Source

ANSWER = 200


def model(window: int) -> LLMClient:
    fake = FakeListChatModel(responses=["x"])
    return LLMClient([NamedModel("m", fake, context_tokens=window, answer_tokens=ANSWER)])


def found(*texts: str, question: str = "Why?") -> RAGResponse:
    sources = tuple(Source(f"c{n}", "d", f"{n}.md", "Title", text, 1.0) for n, text in enumerate(texts))
    return RAGResponse(question, sources, confidence=1.0)


TALK: list[BaseMessage] = [HumanMessage("first " * 50), AIMessage("second " * 50), HumanMessage("third " * 50)]


@given(
    st.integers(1_000, 9_000),
    st.lists(st.text(min_size=1, max_size=6_000), min_size=1, max_size=12),
    st.lists(st.text(max_size=3_000), max_size=6),
)
def test_no_prompt_overflows_and_each_passage_is_whole_or_noted(window: int, texts: list[str], said: list[str]) -> None:
    llm, history = model(window), [HumanMessage(each) for each in said]
    given_found = found(*texts)
    fits = within_window(given_found, llm=llm, history=history)
    prompt = build_prompt(fits, history, room=llm.prompt_tokens())
    assert estimate_prompt(prompt) <= window - ANSWER
    assert fits.sources, "the best passage is always there"
    assert within_window(fits, llm=llm, history=history) == fits
    same = [a == b for a, b in zip(fits.sources, given_found.sources, strict=False)]
    assert bool(fits.notes) == (len(fits.sources) < len(texts) or not all(same))


def test_passages_are_left_out_from_the_last_and_the_note_says_how_many() -> None:
    fits = within_window(found(*["word " * 200] * 9), llm=model(1_500))
    assert [source.id for source in fits.sources] == ["c0", "c1", "c2"]
    assert fits.notes == ("6 of 9 passages were left out: the model's window (llm.context_tokens) holds no more",)


def test_a_passage_that_is_too_long_alone_is_cut_and_the_note_says_where() -> None:
    fits = within_window(found("word " * 4_000, "other"), llm=model(1_500))
    kept = len(fits.sources[0].text)
    assert 0 < kept < 5_000
    assert fits.notes[0].startswith(f"passage 1 was cut after {kept} of its 20000 characters")
    assert fits.notes[1].startswith("1 of 2 passages were left out")


def test_the_newest_messages_of_a_conversation_stay() -> None:
    passages = found("word " * 600)
    room = model(1_450).prompt_tokens()
    fits = within_window(passages, llm=model(1_450), history=TALK)
    said = build_prompt(fits, TALK, room=room)[1:-1]
    assert said == TALK[-len(said) :]
    assert 0 < len(said) < len(TALK)


def test_a_question_that_fills_the_window_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="ask a shorter question") as error:
        within_window(found("a", question="why " * 2_000), llm=model(1_500))
    assert error.value.field == "query"
    with pytest.raises(InputError, match="fewer max_tokens"):
        within_window(found("a"), llm=model(1_500), max_tokens=1_400)


@given(st.integers(1_200, 6_000), st.lists(st.text(max_size=8_000), min_size=1, max_size=8))
def test_results_of_tools_give_way_the_oldest_first(room: int, results: list[str]) -> None:
    turn: list[BaseMessage] = [HumanMessage("Why?")]
    for n, text in enumerate(results):
        call = {"name": "search", "args": {"query": "x"}, "id": str(n)}
        turn += [AIMessage("", tool_calls=[call]), ToolMessage(text, tool_call_id=str(n))]
    prompt = build_react_prompt([*TALK, *turn], last=False, room=room)
    assert estimate_prompt(prompt) <= room
    assert [m.type for m in prompt[-2 * len(results) :]] == ["ai", "tool"] * len(results)


async def test_a_model_whose_window_is_too_small_is_passed_over() -> None:
    small = NamedModel("small", FakeListChatModel(responses=["x"]), context_tokens=512, answer_tokens=ANSWER)
    large = NamedModel("large", FakeListChatModel(responses=["y"]), context_tokens=8_192, answer_tokens=ANSWER)
    prompt = [SystemMessage("word " * 1_000)]
    assert (await LLMClient([small, large]).generate(prompt)).model == "large"
    kinds: list[str] = []
    with pytest.raises(ModelUnavailable, match="its window has room for 312"):
        await LLMClient([small], on_failure=kinds.append).generate(prompt)
    assert kinds == ["too_long"]


@given(st.text(max_size=500), st.integers(0, 200))
def test_the_beginning_of_a_text_that_fits_is_the_longest(text: str, tokens: int) -> None:
    end = characters_within(text, tokens)
    assert estimate_tokens(text[:end]) <= tokens
    assert end == len(text) or estimate_tokens(text[: end + 1]) > tokens
