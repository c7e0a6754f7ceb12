"""The agent that corrects itself: by rules without a generative model, and whatever a generative one answers."""

import json
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from ragents.agents import Turn
from ragents.agents.budget import Budget
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.claims import says_so, statements_of
from ragents.agents.langgraph import LangGraphRAGAgent
from ragents.agents.langgraph_base import thread_config
from ragents.agents.rewriting import other_queries, standalone
from ragents.errors import ModelUnavailable, NotFound
from ragents.principal import ANONYMOUS
from ragents.rag.answering import UNCITED
from ragents.rag.prompt import DECLINED
from ragents.rag.types import Source
from tests.doubles import ScriptedChatModel, hanging_model, make_engine

QUESTION = "Where does adaptive batching sit?"
ENOUGH = json.dumps({"relevant": [1], "enough": True})


async def make_agent(*responses: Any) -> tuple[LangGraphRAGAgent, Any]:
    engine = await make_engine()
    model = ScriptedChatModel(responses=list(responses)) if responses else engine.llm
    assert model is not None
    saver = InMemorySaver(serde=strict_serializer())
    return LangGraphRAGAgent(llm_client=model, rag_engine=engine, checkpointer=saver), model


def said(*questions: str) -> list[BaseMessage]:
    return [message for question in questions for message in (HumanMessage(question), AIMessage("An answer."))]


@pytest.mark.parametrize("garbage", ["", "no json", "[1]", '{"relevant": "all"}', '{"enough": "perhaps"}', "{" * 5_000])
async def test_a_model_that_answers_in_no_form_leaves_it_to_the_rules(garbage: str) -> None:
    agent, _ = await make_agent(garbage, "At the encoder, where the model is [1].", garbage)
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "At the encoder, where the model is [1]."
    assert answer.response.sources[0].uri == "batching.md"


async def test_a_model_that_says_the_same_to_everything_still_answers() -> None:
    engine = await make_engine()
    agent = LangGraphRAGAgent(llm_client=FakeListChatModel(responses=["At the encoder [1]."]), rag_engine=engine)
    assert (await agent.process_message(QUESTION)).answer == "At the encoder [1]."


async def test_a_model_that_is_down_is_unavailable() -> None:
    agent, _ = await make_agent(ConnectionError())
    with pytest.raises(ModelUnavailable):
        await agent.process_message(QUESTION)


async def test_an_unknown_collection_is_not_found() -> None:
    agent, _ = await make_agent()
    with pytest.raises(NotFound):
        await agent.process_message(QUESTION, turn=Turn(collection="nowhere"))


async def test_a_grade_of_passages_that_were_not_given_is_harmless() -> None:
    agent, _ = await make_agent('{"relevant": [0, -1, 99], "enough": true}', "At the encoder, the model [1].")
    assert (await agent.process_message(QUESTION)).answer == "At the encoder, the model [1]."


async def test_out_of_tokens_it_answers_without_another_paid_call() -> None:
    grade = AIMessage(ENOUGH, usage_metadata={"input_tokens": 90, "output_tokens": 20, "total_tokens": 110})
    agent, model = await make_agent(grade, "never asked")
    answer = await agent.process_message(QUESTION, turn=Turn(budget=Budget(tokens=100)))
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert "110 of 100 tokens" in answer.response.notes[0]
    assert answer.response.usage.prompt_tokens == 90
    assert len(model.seen) == 1


async def test_out_of_time_it_answers_without_its_model() -> None:
    agent = LangGraphRAGAgent(llm_client=hanging_model(), rag_engine=await make_engine())
    answer = await agent.process_message(QUESTION, turn=Turn(budget=Budget(seconds=2)))
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert "2 s" in answer.response.notes[0]


async def test_a_claim_that_its_passage_does_not_say_is_taken_out() -> None:
    agent, _ = await make_agent(
        ENOUGH, "It sits at the encoder [1]. It costs 300 dollars [1].", '{"supported": [false]}'
    )
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "It sits at the encoder [1]."
    assert answer.response.notes == ("1 statement taken out of the answer: the cited passages do not say so",)
    assert (await agent.history(answer.thread_id, principal=ANONYMOUS))[-1].content == answer.answer


async def test_an_answer_of_false_claims_alone_is_declined() -> None:
    agent, _ = await make_agent(ENOUGH, "It costs 300 dollars [1].", '{"supported": [false]}')
    answer = await agent.process_message(QUESTION)
    assert (answer.answer, answer.response.citations) == (DECLINED, ())


async def test_a_claim_in_other_words_that_the_model_confirms_stays() -> None:
    agent, model = await make_agent(ENOUGH, "Beim Kodierer, neben dem Modell [1].", '{"supported": [true]}')
    answer = await agent.process_message(QUESTION)
    assert (answer.answer, answer.response.notes) == ("Beim Kodierer, neben dem Modell [1].", ())
    assert "1. Beim Kodierer" in model.seen[-1][-1].text


@pytest.mark.parametrize("verdict", ["who knows", '{"supported": [true, true]}', '{"supported": []}'])
async def test_a_claim_that_nobody_could_check_is_flagged(verdict: str) -> None:
    agent, _ = await make_agent(ENOUGH, "It costs 300 dollars [1].", verdict)
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "It costs 300 dollars [1]."
    assert "1 statement not confirmed" in answer.response.notes[0]


async def test_a_claim_without_a_citation_is_flagged() -> None:
    agent, _ = await make_agent(ENOUGH, "The moon circles round our planet monthly.", '{"supported": [false]}')
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "The moon circles round our planet monthly."
    assert answer.response.notes == (UNCITED, "1 statement without a citation, and not found in the passages")
    assert answer.response.confidence == 0.0


async def test_too_little_found_is_searched_once_more_in_the_graders_words() -> None:
    poor = json.dumps({"relevant": [], "enough": False, "other_query": "cat windowsill"})
    agent, model = await make_agent(poor, poor, "The cat sleeps [1].")
    answer = await agent.process_message("What about felines?")
    assert answer.response.notes[0] == "searched again for: cat windowsill"
    assert len(model.seen) == 3
    assert "cats.md" in [source.uri for source in answer.response.sources]


async def test_only_passages_that_bear_on_the_question_reach_the_answer() -> None:
    agent, model = await make_agent(json.dumps({"relevant": [2], "enough": True}), "Something [1].", "x")
    found = await agent.engine.retrieve(QUESTION)
    answer = await agent.process_message(QUESTION)
    assert [source.id for source in answer.response.sources] == [found.sources[1].id]
    assert model.seen[1][-1].text.count("<passage ") == 1


async def test_a_follow_up_is_rewritten_by_the_model_and_answered_as_asked() -> None:
    agent, model = await make_agent(
        ENOUGH,
        "At the encoder [1].",
        '{"question": "Why does adaptive batching sit at the encoder?"}',
        ENOUGH,
        "So [1].",
    )
    await agent.process_message(QUESTION, thread_id="t")
    answer = await agent.process_message("And why?", thread_id="t")
    assert answer.response.query == "And why?"
    assert "Question: Why does adaptive batching sit at the encoder?" in model.seen[-1][-1].text
    assert [m.type for m in await agent.history("t", principal=ANONYMOUS)] == ["human", "ai", "human", "ai"]


async def test_by_rules_it_answers_and_follows_up() -> None:
    agent, _ = await make_agent()
    first = await agent.process_message(QUESTION, thread_id="t")
    assert (first.response.model, first.response.sources[0].uri) == ("extractive", "batching.md")
    assert first.answer.startswith("Adaptive batching sits at the encoder")
    second = await agent.process_message("And why is it there?", thread_id="t")
    assert second.response.sources[0].uri == "batching.md"
    assert second.response.query == "And why is it there?"


async def test_by_rules_nothing_found_ends_in_a_decline() -> None:
    agent, _ = await make_agent()
    for uri in ("batching.md", "store.md", "cats.md"):
        (document,) = await agent.engine.store.documents(principal=ANONYMOUS, uri=uri)
        await agent.engine.store.delete(document.id, principal=ANONYMOUS)
    assert (await agent.process_message(QUESTION)).answer == DECLINED


async def test_what_is_known_of_a_turn_that_has_not_found_anything_is_not_that_of_the_turn_before() -> None:
    agent, _ = await make_agent(ENOUGH, "At the encoder [1].", ConnectionError())
    await agent.process_message(QUESTION, thread_id="t")
    snapshot = await agent.graph.aget_state(thread_config(ANONYMOUS, "t"))
    assert agent.known_so_far(snapshot.values).answer == "At the encoder [1]."
    state = {**snapshot.values, "messages": [*snapshot.values["messages"], HumanMessage("Next?", id="new")]}
    assert agent.known_so_far(state).sources == ()  # type: ignore[arg-type]  # a state of the graph is a plain dict


async def test_each_step_says_what_it_does() -> None:
    agent, _ = await make_agent(ENOUGH, "At the encoder, the model [1].")
    stream = agent.graph.astream(
        {"messages": [HumanMessage(QUESTION)]},
        config=thread_config(ANONYMOUS, "t"),
        context=Turn(),
        stream_mode="custom",
    )
    assert [part["status"] async for part in stream] == [
        "reading the question",
        "searching",
        "grading what was found",
        "thinking",
        "answering",
        "checking each claim",
    ]


@pytest.mark.parametrize(
    ("question", "history", "expected"),
    [
        ("Why?", [], "Why?"),
        ("And why is it there?", [QUESTION], "And why is it there? (adaptive batching sit)"),
        ("What about Redis?", ["Does Postgres store vectors?"], "What about Redis? (postgres store vectors)"),
        ("Why?", [QUESTION, "And its cost?"], "Why? (adaptive batching sit cost)"),
        ("What is Redis?", [QUESTION], "What is Redis?"),
        ("Are there limits on uploads?", [QUESTION], "Are there limits on uploads?"),
        ("Which documents say that the store is fast?", [QUESTION], "Which documents say that the store is fast?"),
        ("How does that work?", ["?"], "How does that work?"),
        (
            "What does its error E12 mean?",
            ["What voltage does the Triton need?"],
            "What does its error E12 mean? (triton)",
        ),
        ("And its warranty?", ["What is the price of the QM-311?"], "And its warranty? (qm-311)"),
        ("How heavy is it?", ["QM-311 price?"], "How heavy is it? (qm-311)"),
        ("How heavy is it?", ["Compare prices of the Triton!", "And in 2021?"], "How heavy is it? (triton)"),
        ("Why is it?", ["Does Postgres store vectors?"], "Why is it? (postgres store vectors)"),
    ],
)
def test_a_follow_up_is_given_its_subject(question: str, history: list[str], expected: str) -> None:
    assert standalone(question, said(*history)) == expected


@pytest.mark.parametrize(
    ("question", "history", "expected"),
    [
        (
            "What does adaptive batching cost and how fast is the store?",
            [],
            ["What does adaptive batching cost", "how fast is the store"],
        ),
        ("Where does the encoder sit?", ["Adaptive batching?"], ["encoder sit"]),
        ("Where does it sit?", ["Adaptive batching?"], ["sit adaptive batching"]),
        ("postgres vectors", [], []),
        ("", [], []),
        ("???", [], []),
    ],
)
def test_other_queries(question: str, history: list[str], expected: list[str]) -> None:
    assert other_queries(question, said(*history)) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "One [1]. Two [2][3]. Three.",
        "One. [1] Two! [2]\n- item 3.5 [1]\n\n1. first [2]",
        "",
        "no end",
        "例です。[1] 次。",
        "e.g. this [1]",
        "\n\n",
    ],
)
def test_statements_make_the_answer_again(answer: str) -> None:
    assert "".join(statement.text for statement in statements_of(answer)) == answer


def test_a_marker_belongs_to_the_statement_before_it() -> None:
    assert [s.markers for s in statements_of("One. [1] [2] Two [3]. Three")] == [(1, 2), (3,), ()]


@pytest.mark.parametrize(
    ("claim", "fine"),
    [
        ("It sits at the encoder [1].", True),
        ("It sits at the moon [1].", False),
        ("It handles 1,200 texts [1].", True),
        ("It handles 1300 texts [1].", False),
        ("1. It handles 1200 texts [1].", True),
        ("Adaptive batching sits there [1].", True),
        ("In 2019 batching sat at the encoder [1].", True),
        ("It sits at the encoder [2].", False),
        ("The cat sleeps.", True),
        ("", True),
    ],
)
def test_a_claim_is_measured_by_what_it_adds_to_the_question(claim: str, fine: bool) -> None:
    sources = [
        Source("1", "d", "u", "t", "Adaptive batching sits at the encoder and handles 1200 texts.", 1.0),
        Source("2", "d", "u", "t", "The cat sleeps.", 1.0),
    ]
    statements = statements_of(claim)
    assert all(says_so(s, sources, question="Where did adaptive batching sit in 2019?") for s in statements) is fine
