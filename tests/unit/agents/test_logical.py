"""The logical agent: what it reads in a question, asks back, finds, computes, and on which source each step rests."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from ragents.agents import Turn
from ragents.agents.budget import Budget
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.langgraph_base import thread_config
from ragents.agents.logical import LogicalAgent
from ragents.agents.logical.answering import answer_parts
from ragents.agents.logical.form import Form, Known
from ragents.agents.logical.operands import stems
from ragents.agents.logical.rules import form_of_rules
from ragents.agents.threads import RESPONSE
from ragents.config import RAGConfig
from ragents.errors import BudgetExceeded, InputError
from ragents.llm.client import LLMClient
from ragents.llm.types import Usage
from ragents.principal import ANONYMOUS
from ragents.rag.engine import RAGEngine
from ragents.rag.prompt import DECLINED
from ragents.rag.types import RAGResponse, Source
from tests.doubles import WholeChatModel, add_document, make_engine

DOCUMENTS = {
    "contract.md": [
        "# Contract\nThe contract was signed on 3 March 2021, see [7].",
        "Rent and heating are paid monthly.",
        "It ended on 5 January 2022.",
    ],
    "lease-a.md": [
        "The lease began on 2020-01-01. It was renewed on 2021-01-01. It ends on 2022-01-01. The rent is 900 EUR."
    ],
    "lease-b.md": ["The lease began on 2019-01-01. The rent is 950 EUR. The deposit is 1,800 EUR."],
    "plan.md": ["The budget of the project is 80,000 EUR, of which 20 % is for travel."],
    "history.md": [
        "Acme was founded in 1998. The merger with Beta happened on 4 May 2004.",
        "Berlin has 3.7 million inhabitants. Paris has 2.1 million inhabitants.",
    ],
}
TWO_DATES = "How many days lie between the two dates?"


class Scripted(WholeChatModel):
    """Says its lines in order, keeps what it was asked, and counts ten tokens a call."""

    def __init__(self, responses: list[str]) -> None:
        super().__init__(respond=self._say)
        self._lines, self._asked = responses, list[list[BaseMessage]]()

    @property
    def asked(self) -> list[list[BaseMessage]]:
        return self._asked

    async def _say(self, messages: list[BaseMessage]) -> AIMessage:
        said = self._lines[len(self._asked)]
        self._asked.append(messages)
        usage: Any = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
        return AIMessage(said, usage_metadata=usage)


async def make_filled_engine() -> RAGEngine:
    engine = await make_engine()
    for uri, texts in DOCUMENTS.items():
        await add_document(engine, uri, texts)
    return engine


async def make_agent(model: Scripted | None = None, *, saver: InMemorySaver | None = None) -> LogicalAgent:
    engine = await make_filled_engine()
    assert engine.llm is not None
    saver = saver or InMemorySaver(serde=strict_serializer())
    return LogicalAgent(llm_client=model or engine.llm, rag_engine=engine, checkpointer=saver)


class Thread:
    """One conversation with an agent: `ask` says a question, `reply` answers what was asked back."""

    def __init__(self, agent: LogicalAgent, name: str = "t") -> None:
        self.agent, self.config = agent, thread_config(ANONYMOUS, name)
        self.state: dict[str, Any] = {}

    async def ask(self, question: str, *, turn: Turn | None = None) -> RAGResponse | None:
        return await self._run({"messages": [HumanMessage(question)]}, turn)

    async def reply(self, text: str, *, turn: Turn | None = None) -> RAGResponse | None:
        return await self._run(Command(resume=text), turn)

    @property
    def pending(self) -> dict[str, Any]:
        """What was asked back."""
        value: dict[str, Any] = self.state["__interrupt__"][0].value
        return value

    async def _run(self, said: Any, turn: Turn | None) -> RAGResponse | None:
        self.state = await self.agent.graph.ainvoke(said, config=self.config, context=turn or Turn(), durability="sync")
        if "__interrupt__" in self.state:
            return None
        return RESPONSE.validate_python(self.state["response"])


async def answered(question: str, *replies: str, agent: LogicalAgent | None = None) -> RAGResponse:
    thread = Thread(agent or await make_agent())
    response = await thread.ask(question)
    for reply in replies:
        assert response is None, "nothing was asked back"
        response = await thread.reply(reply)
    assert response is not None, f"asked back: {thread.pending}"
    return response


def cited(response: RAGResponse) -> list[str]:
    """The uri behind each citation; its marker must be its source's, and its quote the source's words."""
    by_id = {source.id: source for source in response.sources}
    assert all(response.sources[c.marker - 1].id == c.source_id for c in response.citations)
    assert all(c.quote.split()[-1] in by_id[c.source_id].text for c in response.citations)
    return [by_id[citation.source_id].uri for citation in response.citations]


# What cannot be answered


async def test_a_question_out_of_the_documents_is_declined_as_everywhere() -> None:
    response = await answered("How many years lie between the fall of Rome and the discovery of penicillin?")
    assert (response.answer, response.citations) == (DECLINED, ())
    assert "not found: the fall of Rome" in response.notes


@pytest.mark.parametrize(
    "question", ["What is 15 % of the budget?", "Is the rent higher than the deposit?", "What is adaptive batching?"]
)
async def test_below_the_gate_nothing_is_computed_or_answered(question: str) -> None:
    agent = await make_agent()
    agent.engine.config = RAGConfig(min_confidence=1.0)
    response = await answered(question, agent=agent)
    assert (response.answer, response.citations) == (DECLINED, ())


async def test_a_document_that_is_not_there_is_said() -> None:
    response = await answered("How many days lie between the two dates in nowhere.pdf?")
    assert response.answer == DECLINED
    assert any("no document named 'nowhere.pdf'" in note for note in response.notes)


async def test_a_value_that_is_missing_is_said_and_the_other_is_cited() -> None:
    response = await answered("How many days lie between the signing of the contract and the fall of Rome?")
    assert re.fullmatch(
        r"1\. The contract was signed on 3 March 2021, see \[\d\]\.\n2\. The documents do not tell the fall of Rome\.",
        response.answer or "",
    )
    assert cited(response) == ["contract.md"]


async def test_values_that_do_not_fit_are_said_with_their_sources() -> None:
    response = await answered("What is the difference between the budget and Berlin?")
    assert "do not compute" in (response.answer or "")
    assert cited(response) == ["plan.md", "history.md"]


async def test_a_bomb_in_a_question_is_refused_in_words() -> None:
    assert "too many digits" in ((await answered("What is 9**9**9?")).answer or "")


async def test_an_empty_question_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match="query is empty"):
        await answered("  ")


# Computed from sources


async def test_days_between_the_two_dates_of_a_document_name_the_source_of_each_step() -> None:
    response = await answered("How many days lie between the two dates in document contract.md?")
    marker = {source.text: n for n, source in enumerate(response.sources, start=1)}
    signed, ended = (marker[DOCUMENTS["contract.md"][n]] for n in (0, 2))
    assert response.answer == (
        f"1. The contract was signed on 3 March 2021, see [{signed}].\n"
        f"2. It ended on 5 January 2022 [{ended}].\n"
        "3. Between them lie 308 days."
    )
    assert cited(response) == ["contract.md", "contract.md"]
    assert "computed: days_between(2021-03-03, 2022-01-05) = 308 days" in response.notes


async def test_all_passages_of_a_named_document_count() -> None:
    agent = await make_agent()
    filler = [f"Passage {n} tells of dates, days and how many lie between them." for n in range(20)]
    await add_document(agent.engine, "long.md", ["Begun on 2020-01-01.", *filler, "Closed on 2020-03-01."])
    response = await answered("How many days lie between the two dates in long.md?", agent=agent)
    assert (response.answer or "").endswith("Between them lie 60 days.")


async def test_a_document_beyond_what_one_search_gives_is_said_to_be_read_in_part() -> None:
    agent = await make_agent()
    await add_document(agent.engine, "huge.md", [f"On day {n} it rained." for n in range(120)])
    response = await answered("How many days lie between the two dates in huge.md?", agent=agent)
    assert any("of 120 passages of huge.md were considered" in note for note in response.notes)


@pytest.mark.parametrize(
    ("question", "ending", "uris"),
    [
        ("What is 15 % of the budget in plan.md?", "15 % of 80000 EUR is 12000 EUR.", ["plan.md"]),
        ("What is 15 percent of the budget?", "15 % of 80000 EUR is 12000 EUR.", ["plan.md"]),
        (
            "How many years passed between the founding of Acme and the merger with Beta?",
            "Between them lie 6 years. Note: 1998 is a year only.",
            ["history.md"],
        ),
        (
            "Are the inhabitants of Berlin more than the inhabitants of Paris?",
            "Yes: 3700000 is more than 2100000.",
            ["history.md"],
        ),
        ("Is the deposit smaller than 1,000 EUR?", "No: 1800 EUR is not less than 1000 EUR.", ["lease-b.md"]),
        ("What is the difference between the rent and the deposit in lease-b.md?", "is 850 EUR.", ["lease-b.md"]),
        ("What is the sum of the rent and the deposit in lease-b.md?", "they are 2750 EUR.", ["lease-b.md"]),
        ("What is the ratio of the deposit to the budget?", "The ratio is 0.0225.", ["lease-b.md", "plan.md"]),
        (
            "Did the founding of Acme happen before the merger with Beta?",
            "Yes: 1998 is before 2004. Note: 1998 is a year only.",
            ["history.md"],
        ),
    ],
)
async def test_computed_answers(question: str, ending: str, uris: list[str]) -> None:
    response = await answered(question)
    assert (response.answer or "").endswith(ending)
    assert list(dict.fromkeys(cited(response))) == uris


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 15% of 80?", "15% of 80 = 12"),
        ("How many days lie between 3 March 2021 and 5 January 2022?", "Between them lie 308 days."),
        ("3 km + 200 m in miles", "3 km + 200 m in miles = about 1.98838781516 mi"),
    ],
)
async def test_what_stands_in_the_question_needs_no_source(question: str, answer: str) -> None:
    response = await answered(question)
    assert (response.answer, response.sources, response.citations) == (answer, (), ())


async def test_each_part_of_a_question_is_searched_and_answered() -> None:
    response = await answered("What is adaptive batching and when does the cat sleep?")
    assert cited(response) == ["batching.md", "cats.md"]


async def test_things_are_compared_in_words_where_there_is_nothing_to_compute() -> None:
    response = await answered("compare where adaptive batching sits and what Postgres keeps")
    assert {"batching.md", "store.md"} <= set(cited(response))
    assert len({source.id for source in response.sources}) == len(response.sources)
    assert [s.score for s in response.sources] == sorted((s.score for s in response.sources), reverse=True)


# Asking back


async def test_a_document_that_is_missing_is_asked_for() -> None:
    thread = Thread(await make_agent())
    assert await thread.ask(TWO_DATES) is None
    assert thread.pending["missing"] == ["document"]
    response = await thread.reply("in contract.md")
    assert response is not None
    assert (response.answer or "").endswith("308 days.")
    said = [(message.type, message.content) for message in thread.state["messages"]]
    assert said == [
        ("human", TWO_DATES),
        ("ai", thread.state["messages"][1].content),
        ("human", "in contract.md"),
        ("ai", response.answer),
    ]
    assert "document" in str(said[1][1])


async def test_the_turn_goes_on_with_another_agent_on_the_same_saver() -> None:
    saver = InMemorySaver(serde=strict_serializer())
    first = Thread(await make_agent(saver=saver))
    assert await first.ask(TWO_DATES) is None
    second = Thread(await make_agent(saver=saver))
    response = await second.reply("contract.md")
    assert response is not None
    assert (response.answer or "").endswith("308 days.")


async def test_a_reply_may_give_the_dates_instead() -> None:
    assert (await answered(TWO_DATES, "2021-01-01 and 2021-01-31")).answer == "Between them lie 30 days."


async def test_an_ambiguous_document_and_too_many_dates_are_asked_about() -> None:
    thread = Thread(await make_agent())
    await thread.ask("How many days lie between the two dates in the lease?")
    assert "lease-a.md, lease-b.md" in thread.pending["question"]
    await thread.reply("lease-a.md")
    assert thread.pending["missing"] == ["dates"]
    response = await thread.reply("the first and the last")
    assert response is not None
    assert (response.answer or "").endswith("Between them lie 731 days.")
    assert cited(response) == ["lease-a.md"]


async def test_at_most_two_questions_are_asked_and_the_choice_is_told() -> None:
    response = await answered("How many days lie between the two dates in lease-a.md?", "hm", "no idea")
    assert "Between them lie 731 days. Note: the document names 3 dates" in (response.answer or "")
    assert "the earliest and the latest were taken" in (response.answer or "")


async def test_an_ambiguity_that_stays_is_not_guessed_away() -> None:
    response = await answered("How many days lie between the two dates in the lease?", "hm", "no idea")
    assert response.answer == DECLINED


async def test_rival_values_are_asked_about() -> None:
    thread = Thread(await make_agent())
    await thread.ask("Is the rent higher than 920 EUR?")
    assert all(uri in thread.pending["question"] for uri in ("lease-a.md", "lease-b.md"))
    response = await thread.reply("the lease-b one, lease-b.md")
    assert response is not None
    assert (response.answer or "").endswith("Yes: 950 EUR is more than 920 EUR.")


@pytest.mark.parametrize("reply", ["the budget", "the budget in plan.md", "80,000 EUR"])
async def test_a_referent_that_is_missing_is_asked_for(reply: str) -> None:
    thread = Thread(await make_agent())
    await thread.ask("What is 15 % of it?")
    assert thread.pending["missing"] == ["referent"]
    response = await thread.reply(reply)
    assert response is not None
    assert (response.answer or "").endswith("15 % of 80000 EUR is 12000 EUR.")


async def test_two_things_that_are_missing_are_asked_for() -> None:
    thread = Thread(await make_agent())
    await thread.ask("What is the difference between them?")
    assert thread.pending["missing"] == ["things"]
    response = await thread.reply("the rent and the deposit in lease-b.md")
    assert response is not None
    assert (response.answer or "").endswith("The difference is 850 EUR.")


async def test_what_was_said_before_need_not_be_asked() -> None:
    thread = Thread(await make_agent())
    await thread.ask("What is 15 % of the budget?")
    response = await thread.ask("And what is 10 % of it?")
    assert response is not None
    assert response.answer == "10 % of 12000 EUR is 1200 EUR."


async def test_a_new_turn_begins_without_the_last_ones_state() -> None:
    thread = Thread(await make_agent())
    await thread.ask(TWO_DATES)
    await thread.reply("contract.md")
    response = await thread.ask("What is 15 % of the budget in plan.md?")
    assert response is not None
    assert {source.uri for source in response.sources} == {"plan.md"}
    assert (thread.state["asked"], thread.state["found"]) == (0, [])
    await thread.ask("What is the difference between them?")
    assert thread.pending["missing"] == ["things"]


async def test_a_new_question_may_come_in_place_of_a_reply() -> None:
    thread = Thread(await make_agent())
    await thread.ask(TWO_DATES)
    response = await thread.ask("What is 15 % of the budget?")
    assert response is not None
    assert (response.answer or "").endswith("12000 EUR.")


# With a generative model


FORM = {
    "intent": "compute",
    "operation": "days_between",
    "entities": ["the signing of the contract", "the end in January"],
    "of_dates": True,
    "document": "contract.md",
    "sub_questions": ["When was the contract signed?", "When did it end?"],
}


async def test_a_model_fills_in_the_form_and_the_values_come_from_sources() -> None:
    model = Scripted(responses=[f"Here it is:\n```json\n{json.dumps(FORM)}\n```"])
    thread = Thread(await make_agent(model))
    turn = Turn()
    response = await thread.ask("Take contract.md: signing to end in January, in days, please", turn=turn)
    assert response is not None
    assert (response.answer or "").endswith("Between them lie 308 days.")
    assert cited(response) == ["contract.md", "contract.md"]
    assert turn.budget.spent == response.usage
    assert (response.usage.prompt_tokens, len(model.asked)) == (5, 1)


@pytest.mark.parametrize(
    "garbage",
    [
        "I cannot do that.",
        "{not json}",
        "{}",
        json.dumps({"intent": "dance"}),
        json.dumps({"intent": "compute", "operation": "sum", "entities": ["a"]}),
        json.dumps({"intent": "compute", "operation": "percent_of", "percent": "99", "entities": ["the budget"]}),
        json.dumps({"intent": "compute", "operation": "ratio", "entities": ["5 EUR", "7 EUR"]}),
        json.dumps({"intent": "compute", "expression": "9**9**9"}),
        json.dumps({"intent": "lookup", "document": "/etc/passwd"}),
        json.dumps({"intent": "lookup", "surprise": 1}),
        json.dumps({"intent": "list", "sub_questions": ["?"] * 100}),
    ],
)
async def test_a_form_that_is_garbage_or_brings_values_along_gives_way_to_the_rules(garbage: str) -> None:
    agent = await make_agent(Scripted(responses=[garbage]))
    response = await answered("What is 15 % of the budget?", agent=agent)
    assert (response.answer or "").endswith("15 % of 80000 EUR is 12000 EUR.")


async def test_a_model_answers_what_is_not_computed_and_sees_all_parts() -> None:
    form = {"intent": "lookup", "sub_questions": ["What is adaptive batching?", "What does the cat do?"]}
    model = Scripted(responses=[json.dumps(form), "At the encoder [1], and it sleeps [2] [9]."])
    turn = Turn()
    thread = Thread(await make_agent(model))
    response = await thread.ask("Batching, and the cat?", turn=turn)
    assert response is not None
    assert response.answer == "At the encoder [1], and it sleeps [2]."
    assert {"batching.md", "cats.md"} <= {source.uri for source in response.sources}
    assert (response.usage.prompt_tokens, response.usage.completion_tokens) == (10, 10)


async def test_a_calculation_asks_no_model() -> None:
    model = Scripted(responses=[])
    assert (await answered("What is 2 + 2?", agent=await make_agent(model))).answer == "2 + 2 = 4"
    assert model.asked == []


async def test_replying_asks_no_model_a_second_time() -> None:
    form = {"intent": "compute", "operation": "days_between", "missing": ["document"], "sub_questions": [TWO_DATES]}
    model = Scripted(responses=[json.dumps(form)])
    response = await answered(TWO_DATES, "contract.md", agent=await make_agent(model))
    assert (response.answer or "").endswith("308 days.")
    assert len(model.asked) == 1


async def test_computing_goes_on_without_the_model() -> None:
    model = Scripted(responses=[])  # fails when it is asked
    response = await answered("What is 15 % of the budget?", agent=await make_agent(model))
    assert (response.answer or "").endswith("12000 EUR.")


async def test_a_turn_that_ends_early_leaves_no_answer_of_the_turn_before() -> None:
    form = {"intent": "lookup", "sub_questions": ["What is adaptive batching?"]}
    thread = Thread(await make_agent(Scripted(responses=[json.dumps(form)])))
    await thread.ask("What is 2 + 2?")
    with pytest.raises(BudgetExceeded):
        await thread.ask("Adaptive batching?", turn=Turn(budget=Budget(tokens=11, seconds=1, spent=Usage(2))))
    snapshot = await thread.agent.graph.aget_state(thread.config)
    assert RESPONSE.validate_python(snapshot.values["response"]).answer is None
    assert [message.type for message in snapshot.values["messages"]] == ["human", "ai", "human"]


@pytest.mark.parametrize(("tokens", "calls"), [(10, 1), (20, 2)])
async def test_a_budget_that_runs_out_is_raised(tokens: int, calls: int) -> None:
    form = {"intent": "lookup", "sub_questions": ["What is adaptive batching?"]}
    model = Scripted(responses=[json.dumps(form), "At the encoder [1]."])
    thread = Thread(await make_agent(model))
    with pytest.raises(BudgetExceeded):
        await thread.ask("Adaptive batching?", turn=Turn(budget=Budget(tokens=tokens)))
    assert len(model.asked) == calls


# The rules


WORDS = """how many days between the two dates and in document compare is larger than 15 % of it what when 2021-01-01
contract.md sum ratio difference to or ? , " 3,000 km which list""".split()  # noqa: SIM905


def forms(question: str, known: Known = Known()) -> dict[str, Any]:  # noqa: B008
    return form_of_rules(question, known).model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many days lie between the two dates in document X?", {"operation": "days_between", "document": "X"}),
        (TWO_DATES, {"operation": "days_between", "missing": ("document",)}),
        (
            "How many years passed between the founding of Acme and the merger with Beta?",
            {"operation": "years_between", "entities": ("the founding of Acme", "the merger with Beta")},
        ),
        ("Is X larger than Y?", {"operation": "comparison", "entities": ("X", "Y"), "relation": ">"}),
        ("Which is smaller, the rent or the deposit?", {"entities": ("the rent", "the deposit"), "relation": "<"}),
        ("Is A older than B?", {"relation": "<", "of_dates": True}),
        (
            "What is 15 % of the budget in the project plan?",
            {"percent": "15", "entities": ("the budget",), "maybe_document": "the project plan"},
        ),
        ("What is 15 % of it?", {"percent": "15", "missing": ("referent",)}),
        ("compare A and B", {"intent": "compare", "entities": ("A", "B")}),
        ("Compare A with B in 2021", {"constraints": ("in 2021",), "entities": ("A", "B")}),
        ("Compare them", {"missing": ("things",)}),
        ("List all deadlines in plan.md", {"intent": "list", "document": "plan.md"}),
        ("What is A and when did B?", {"intent": "lookup", "sub_questions": ("What is A", "when did B?")}),
        ("Where does batching sit?", {"intent": "lookup", "sub_questions": ("Where does batching sit?",)}),
        ("What is 15% of 80?", {"expression": "15% of 80"}),
    ],
)
def test_rules_read_a_question(question: str, expected: dict[str, Any]) -> None:
    found = forms(question)
    assert {key: found.get(key) for key in expected} == expected


def test_the_document_of_the_last_answer_is_the_document() -> None:
    known = Known("", document="contract.md")
    assert forms("How many days lie between the two dates in the document?", known)["document"] == "contract.md"
    assert forms(TWO_DATES, known)["document"] == "contract.md"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(WORDS),
        max_size=40,
    ),
    st.text(max_size=20),
)
def test_any_question_has_a_form_that_survives_the_thread(words: Sequence[str], text: str) -> None:
    form = form_of_rules(" ".join([*words, text]), Known(text, None))
    assert Form.model_validate(json.loads(json.dumps(form.model_dump(mode="json")))) == form


def test_words_of_one_stem_are_one() -> None:
    assert stems("the signing") == stems("was signed")
    assert stems("founding") == stems("founded")


async def test_the_graph_is_drawable_and_emits_progress() -> None:
    agent = await make_agent()
    assert "retrieve" in agent.graph.get_graph().draw_mermaid()
    said = [
        each["status"]
        async for each in agent.graph.astream(
            {"messages": [HumanMessage("What is 15 % of the budget?")]},
            config=thread_config(ANONYMOUS, "t"),
            context=Turn(),
            stream_mode="custom",
        )
    ]
    assert said == ["reading the question", "searching: What is the budget?", "computing"]


async def test_a_table_that_answers_a_part_has_a_paragraph_of_its_own() -> None:
    table = "| Room | Seats |\n|---|---|\n| Birch | 12 |"
    told = [Source("c1", "d1", "u", "t", f"{table}\n\nThe hall has 90 seats.", 1.0)]
    llm = LLMClient.of(FakeListChatModel(responses=["The hall has 90 seats. [1]", f"{table}\n\n[1]"]), name="fake")
    found = RAGResponse("Seats of the hall, and of Birch?", tuple(told), 0.9)
    parts = await answer_parts(found, ["Hall?", "Birch?"], llm=llm, min_confidence=0.3, confidences=[0.9, 0.9])
    assert parts.answer == f"The hall has 90 seats. [1]\n\n{table}\n\n[1]"
