"""The react agent: bounded whatever its model and its tools do, and never running a side effect twice."""

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, InvalidToolCall, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from ragents.agents import AgentConfig, Turn
from ragents.agents.budget import Budget
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.langgraph_base import thread_config
from ragents.agents.react import ReactAgent
from ragents.agents.react.known import GROUNDLESS
from ragents.agents.react.messages import build_prompt
from ragents.agents.react.rules import arithmetic_in
from ragents.agents.tools import MemoryLedger, Tool, create_tool
from ragents.errors import InputError, ModelUnavailable, NotFound, StoreUnavailable
from ragents.llm.client import LLMClient, NamedModel
from ragents.llm.extractive import ExtractiveChatModel
from ragents.llm.usage import estimate_prompt
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.prompt import DECLINED
from tests.doubles import ScriptedChatModel, add_document, calling, make_engine

QUESTION = "Where does adaptive batching sit?"
SEARCH = calling(("search_documents", {"query": "adaptive batching"}))


async def make_agent(*responses: Any, tools: list[Tool] | None = None, **options: Any) -> tuple[ReactAgent, Any]:
    """The agent and its model: the scripted one, or with no responses the extractive one."""
    engine = await make_engine()
    model = ScriptedChatModel(responses=list(responses)) if responses else engine.llm
    assert model is not None
    options.setdefault("checkpointer", InMemorySaver(serde=strict_serializer()))
    return ReactAgent(llm_client=model, rag_engine=engine, tools=tools or [], **options), model


async def test_a_window_that_the_tools_fill_is_the_settings_fault_and_not_the_questions() -> None:
    engine = await make_engine()
    model = ScriptedChatModel(responses=[SEARCH, "At the encoder [1]."])
    agent = ReactAgent(llm_client=LLMClient([NamedModel("m", model, context_tokens=900)]), rag_engine=engine)
    with pytest.raises(InputError, match=r"tools \(\d+ tokens\).*raise llm.context_tokens") as error:
        await agent.process_message("Why?")
    assert (error.value.field, error.value.code) == ("agent_type", "window_too_small")
    roomy = ReactAgent(llm_client=LLMClient([NamedModel("m", model, context_tokens=2_000)]), rag_engine=engine)
    with pytest.raises(InputError, match="ask a shorter question") as error:
        await roomy.process_message("Why? " * 2_000)
    assert error.value.field == "query"


async def test_an_answer_without_a_search_is_taken_back_with_a_note() -> None:
    agent, _ = await make_agent("The leave is 27 days a year.")
    response = (await agent.process_message("How long is the leave?")).response
    assert (response.answer, response.confidence, response.notes) == (DECLINED, 0.0, (GROUNDLESS,))


async def test_a_model_that_declines_by_itself_needs_no_note() -> None:
    agent, _ = await make_agent(DECLINED)
    response = (await agent.process_message("How long is the leave?")).response
    assert (response.answer, response.notes) == (DECLINED, ())


def results(messages: list[BaseMessage]) -> list[ToolMessage]:
    return [message for message in messages if isinstance(message, ToolMessage)]


class Counter:
    """A tool with a side effect that counts its runs, and can be told to fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.runs: list[str] = []
        self.error = error

        async def send(to: str) -> str:
            """Send a letter."""
            self.runs.append(to)
            if self.error:
                raise self.error
            return f"sent to {to}"

        self.tool = create_tool(send, side_effects=True)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("search_documents", {}), "query: Field required"),
        (("search_documents", {"query": "x", "top_k": "many"}), "top_k: Input should be a valid integer"),
        (("search_documents", {"query": "x", "colour": "red"}), "colour: Extra inputs are not permitted"),
        (("fly", {}), "there is no tool 'fly'; there are search_documents"),
        (("open_document", {"document": "nowhere.md"}), "no document 'nowhere.md'"),
        (("open_document", {"document": "[7]"}), "no passage '[7]'"),
    ],
)
async def test_a_bad_call_is_told_to_the_model_and_the_turn_goes_on(call: Any, told: str) -> None:
    agent, model = await make_agent(calling(call), SEARCH, "At the encoder [1].")
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "At the encoder [1]."
    (result,) = results(model.seen[1])
    assert told in result.text
    assert result.status == "error"


async def test_arguments_that_are_no_json_are_told_and_answered() -> None:
    broken = AIMessage("", invalid_tool_calls=[InvalidToolCall(name="send", args='{"to": ', id="c", error="?")])
    counter = Counter()
    agent, model = await make_agent(broken, SEARCH, "At the encoder [1].", tools=[counter.tool])
    await agent.process_message(QUESTION)
    assert "valid dictionary" in results(model.seen[1])[0].text
    assert counter.runs == []


async def test_a_tool_that_hangs_is_stopped_and_the_turn_goes_on() -> None:
    async def hang() -> str:
        """Never ends."""
        await asyncio.Event().wait()
        return ""

    agent, model = await make_agent(
        calling(("hang", {}), ("search_documents", {"query": "batching"})),
        "At the encoder [1].",
        tools=[create_tool(hang, timeout_s=0.02)],
    )
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "At the encoder [1]."
    assert [result.name for result in results(model.seen[1])] == ["hang", "search_documents"]
    assert "took longer than 0.02 s" in results(model.seen[1])[0].text


async def test_a_tool_that_raises_is_told_without_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> str:
        """Fails."""
        raise RuntimeError("password=hunter2")

    agent, model = await make_agent(calling(("fail", {})), "I could not.", tools=[create_tool(fail)])
    answer = await agent.process_message(QUESTION)
    assert answer.answer == DECLINED
    assert results(model.seen[1])[0].text == "Error: fail failed (RuntimeError)"
    assert "hunter2" in caplog.text


async def test_a_result_that_is_too_long_is_cut_with_a_note() -> None:
    async def flood() -> str:
        """A lot."""
        return "x" * 1_000_000

    agent, model = await make_agent(calling(("flood", {})), "Much.", tools=[create_tool(flood)])
    await agent.process_message(QUESTION)
    (result,) = results(model.seen[1])
    assert len(result.text) < 7_000
    assert "cut: 994000 more characters" in result.text


async def test_a_store_that_is_down_ends_the_turn() -> None:
    agent, _ = await make_agent(SEARCH, "The documents do not tell.")

    async def down(*_: object, **__: object) -> Any:
        raise StoreUnavailable("it does not answer")

    agent.engine.store.search = down  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await agent.process_message(QUESTION)


async def test_an_unknown_collection_is_not_found_as_with_every_agent() -> None:
    for responses in ([], [SEARCH]):
        agent, _ = await make_agent(*responses)
        with pytest.raises(NotFound):
            await agent.process_message(QUESTION, turn=Turn(collection="nowhere"))


async def test_a_model_that_calls_tools_for_ever_is_stopped_with_what_is_known() -> None:
    agent, model = await make_agent(SEARCH, config=AgentConfig(max_steps=9))
    answer = await agent.process_message(QUESTION, thread_id="t")
    assert answer.response.notes == ("stopped after 9 steps; this is what is known so far",)
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert answer.response.citations[0].source_id == answer.response.sources[0].id
    assert len(model.seen) == 4
    assert "last step" in str(model.seen[-1][0].content)
    history = await agent.history("t", principal=ANONYMOUS)
    assert [m.type for m in history] == ["human", "ai", "tool", "ai", "tool", "ai", "tool", "ai"]


async def test_the_steps_that_langgraph_has_left_count_too() -> None:
    agent, _ = await make_agent(SEARCH)
    state = await agent.graph.ainvoke(
        {"messages": [HumanMessage(QUESTION)]},
        config={**thread_config(ANONYMOUS, "t"), "recursion_limit": 6},
        context=Turn(),
    )
    assert "stopped after" in state["response"]["notes"][0]


async def test_a_model_told_of_its_last_step_may_answer() -> None:
    agent, _ = await make_agent(SEARCH, "At the encoder [1].", config=AgentConfig(max_steps=5))
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "At the encoder [1]."
    assert "stopped after 5 steps" in answer.response.notes[0]


@pytest.mark.parametrize("max_steps", [1, 2, 3])
async def test_with_hardly_a_step_there_is_an_answer(max_steps: int) -> None:
    for responses in ([], [SEARCH]):
        agent, _ = await make_agent(*responses, config=AgentConfig(max_steps=max_steps))
        assert (await agent.process_message(QUESTION)).answer == DECLINED


async def test_a_turn_out_of_tokens_answers_without_another_paid_call() -> None:
    agent, model = await make_agent(SEARCH, calling(("calculate", {"expression": "1"}), tokens=995))
    answer = await agent.process_message(QUESTION, thread_id="t", turn=Turn(budget=Budget(tokens=1_000)))
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert "1005 of 1000 tokens" in answer.response.notes[0]
    assert answer.response.usage.prompt_tokens == 1_005
    assert len(model.seen) == 2
    assert [m.type for m in await agent.history("t", principal=ANONYMOUS)] == ["human", "ai", "tool", "ai"]


async def test_an_answer_that_took_the_last_tokens_is_given() -> None:
    done = AIMessage(
        "At the encoder [1].", usage_metadata={"input_tokens": 999, "output_tokens": 9, "total_tokens": 1008}
    )
    agent, _ = await make_agent(SEARCH, done)
    answer = await agent.process_message(QUESTION, turn=Turn(budget=Budget(tokens=1_000)))
    assert (answer.answer, answer.response.notes) == ("At the encoder [1].", ())


async def test_a_model_that_takes_all_the_time_is_left_for_what_is_known() -> None:
    class Slow(ScriptedChatModel):
        async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            if self.seen:
                await asyncio.Event().wait()
            return await super()._agenerate(messages, *args, **kwargs)

    engine = await make_engine()
    agent = ReactAgent(llm_client=Slow(responses=[SEARCH]), rag_engine=engine)
    answer = await agent.process_message(QUESTION, turn=Turn(budget=Budget(seconds=2)))
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert "has taken its 2 s" in answer.response.notes[0]


async def test_a_turn_without_any_time_declines() -> None:
    agent, model = await make_agent(SEARCH)
    answer = await agent.process_message(QUESTION, turn=Turn(budget=Budget(seconds=0)))
    assert answer.answer == DECLINED
    assert model.seen == []


async def crash_after_the_tools(agent: ReactAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a turn whose tools run, and whose checkpointer then fails before their results are kept."""
    saver: Any = agent.graph.checkpointer
    put_writes = saver.aput_writes

    async def fail(config: Any, writes: Any, *args: Any, **kwargs: Any) -> None:
        if any(channel == "messages" and isinstance(value[0], ToolMessage) for channel, value in writes):
            raise ConnectionError("the checkpointer is gone")
        await put_writes(config, writes, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(saver, "aput_writes", fail)
        with pytest.raises(ConnectionError):
            await agent.process_message("Write to Ada.", thread_id="t")


async def resume(agent: ReactAgent) -> list[BaseMessage]:
    state = await agent.graph.ainvoke(None, config=thread_config(ANONYMOUS, "t"), context=Turn())
    messages: list[BaseMessage] = state["messages"]
    return messages


async def test_a_side_effect_that_was_done_is_not_done_again_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    agent, _ = await make_agent(calling(("send", {"to": "Ada"})), "I wrote to Ada.", tools=[counter.tool])
    await crash_after_the_tools(agent, monkeypatch)
    messages = await resume(agent)
    assert counter.runs == ["Ada"]
    assert results(messages)[0].text == "sent to Ada"
    assert messages[-1].text == "I wrote to Ada."


async def test_a_side_effect_that_was_begun_is_not_run_again_and_its_outcome_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crashing(MemoryLedger):
        async def finish(self, *_: object) -> None:
            raise SystemError("power cut")

    counter = Counter()
    agent, _ = await make_agent(
        calling(("send", {"to": "Ada"})), "It is unknown.", tools=[counter.tool], ledger=Crashing()
    )
    with pytest.raises(SystemError):
        await agent.process_message("Write to Ada.", thread_id="t")
    messages = await resume(agent)
    assert counter.runs == ["Ada"]
    assert "whether it took effect is unknown" in results(messages)[0].text
    assert results(messages)[0].status == "error"


async def test_calls_with_the_same_id_in_later_turns_and_other_threads_run() -> None:
    counter = Counter()
    call = calling(("send", {"to": "Ada"})).model_copy(update={"id": "always the same"})
    agent, _ = await make_agent(call, "Done.", call, "Done.", call, "Done.", tools=[counter.tool])
    for thread in ("t", "t", "u"):
        await agent.process_message("Write to Ada.", thread_id=thread)
    assert counter.runs == ["Ada"] * 3


async def test_calls_of_one_message_with_the_same_or_no_id_are_apart() -> None:
    counter = Counter()
    call = calling(("send", {"to": "a"}), ("send", {"to": "b"}), ("send", {"to": "c"}), ids=["x", "x", ""])
    agent, model = await make_agent(call, "Done.", tools=[counter.tool])
    await agent.process_message("Write.")
    assert sorted(counter.runs) == ["a", "b", "c"]
    assert [result.text for result in results(model.seen[1])] == ["sent to a", "sent to b", "sent to c"]
    assert len({result.tool_call_id for result in results(model.seen[1])}) == 3


async def test_a_side_effect_that_fails_is_not_repeated_on_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(error=ValueError("no"))
    agent, _ = await make_agent(calling(("send", {"to": "Ada"})), "It failed.", tools=[counter.tool])
    await crash_after_the_tools(agent, monkeypatch)
    messages = await resume(agent)
    assert counter.runs == ["Ada"]
    assert "may have taken effect" in results(messages)[0].text


async def test_more_calls_at_once_than_allowed_are_refused() -> None:
    counter = Counter()
    agent, model = await make_agent(calling(*[("send", {"to": str(n)}) for n in range(11)]), "x", tools=[counter.tool])
    await agent.process_message("Write.")
    assert len(counter.runs) == 8
    assert [result.status for result in results(model.seen[1])] == ["success"] * 8 + ["error"] * 3


async def test_markers_of_passages_that_no_tool_gave_are_taken_out() -> None:
    agent, _ = await make_agent(SEARCH, "At the encoder [1][9], surely [42].")
    answer = await agent.process_message(QUESTION)
    assert answer.answer == "At the encoder [1], surely."
    assert [citation.marker for citation in answer.response.citations] == [1]


async def test_passages_keep_their_numbers_through_the_turn() -> None:
    agent, model = await make_agent(
        calling(
            ("search_documents", {"query": "adaptive batching encoder", "top_k": 1}),
            ("search_documents", {"query": "cat windowsill", "top_k": 1}),
        ),
        calling(("search_documents", {"query": "the cat sleeps on the windowsill", "top_k": 1})),
        "The cat sleeps [2].",
    )
    answer = await agent.process_message("What does the cat do?")
    assert [source.uri for source in answer.response.sources] == ["batching.md", "cats.md"]
    assert answer.response.citations[0].source_id == answer.response.sources[1].id
    assert '<passage n="2" from="cats.md">' in model.seen[1][-1].text
    assert model.seen[2][-1].text == "Passages found: 1.\n\nShown before: [2]."


async def test_an_answer_without_sources_or_results_is_declined() -> None:
    agent, _ = await make_agent("I just know that it is 42.")
    answer = await agent.process_message("What is the answer to everything?")
    assert (answer.answer, answer.response.sources, answer.response.citations) == (DECLINED, (), ())


async def test_sources_below_the_gate_give_no_answer() -> None:
    agent, _ = await make_agent(SEARCH, "Certainly in the moon [1].")
    agent.engine.config = agent.engine.config.model_copy(update={"min_confidence": 1.0})
    assert (await agent.process_message("Where is the moon?")).answer == DECLINED


async def test_the_model_sees_what_was_said_before_without_the_calls_of_earlier_turns() -> None:
    agent, model = await make_agent(SEARCH, "At the encoder [1].", SEARCH, "Since the model is there [1].")
    await agent.process_message(QUESTION, thread_id="t")
    await agent.process_message("Why there?", thread_id="t")
    assert [m.type for m in model.seen[-1]] == ["system", "human", "ai", "human", "ai", "tool"]
    assert model.seen[-1][2].content == "At the encoder."
    history = await agent.history("t", principal=ANONYMOUS)
    assert [m.type for m in history] == ["human", "ai", "tool", "ai"] * 2


def test_a_call_that_never_got_its_result_does_not_reach_the_model() -> None:
    """A turn was given up between a call and its result, and the next question came."""
    messages = [HumanMessage("a"), calling(("send", {"to": "x"})), HumanMessage("b")]
    assert [m.type for m in build_prompt(messages, last=False)] == ["system", "human", "human"]


def test_the_oldest_results_of_a_long_turn_give_way() -> None:
    turn: list[BaseMessage] = [HumanMessage("a")]
    for n in range(20):
        turn += [
            calling(("search_documents", {"query": "x"}), ids=[f"{n}"]),
            ToolMessage("y" * 5_000, tool_call_id=f"{n}"),
        ]
    prompt = build_prompt(turn, last=False)
    assert len(prompt) == len(turn) + 1
    assert estimate_prompt(prompt[1:]) <= 16_000
    assert prompt[-1].text == "y" * 5_000


async def test_a_new_turn_knows_nothing_of_the_sources_of_the_one_before() -> None:
    again = AIMessage(
        "As I said, at the encoder [1].", usage_metadata={"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    )
    agent, _ = await make_agent(SEARCH, "At the encoder [1].", again)
    await agent.process_message(QUESTION, thread_id="t")
    second = await agent.process_message("Where?", thread_id="t")
    assert (second.answer, second.response.sources, second.response.usage.prompt_tokens) == (DECLINED, (), 7)


async def test_a_tool_of_the_user_grounds_an_answer_and_knows_on_whose_behalf_it_runs() -> None:
    seen: list[Any] = []

    async def weather(city: str, context: Any) -> str:
        """The weather in a city."""
        seen.append((city, context.principal, context.idempotency_key))
        return "rain"

    agent, model = await make_agent(calling(("weather", {"city": "Bern"})), "It rains.", tools=[create_tool(weather)])
    answer = await agent.process_message("How is the weather in Bern?", turn=Turn(principal=Principal("a", "b")))
    assert answer.answer == "It rains."
    assert answer.response.confidence == 0.0
    assert seen[0][:2] == ("Bern", Principal("a", "b"))
    assert len(seen[0][2]) == 64
    assert model.bound[0] == ["search_documents", "open_document", "calculate", "weather"]


async def test_what_is_known_of_a_turn_that_was_cut_off() -> None:
    agent, _ = await make_agent(SEARCH, "At the encoder [1].", ConnectionError())
    await agent.process_message(QUESTION, thread_id="t")
    snapshot = await agent.graph.aget_state(thread_config(ANONYMOUS, "t"))
    known = agent.known_so_far(snapshot.values)
    assert known.answer == "Adaptive batching sits at the encoder because that is where the model is. [1]"
    with pytest.raises(ModelUnavailable):
        await agent.process_message("And the cat?", thread_id="t")
    snapshot = await agent.graph.aget_state(thread_config(ANONYMOUS, "t"))
    known = agent.known_so_far(snapshot.values)
    assert (known.query, known.answer, known.sources) == ("And the cat?", DECLINED, ())


async def test_without_a_model_that_calls_tools_it_searches_by_rules() -> None:
    agent, _ = await make_agent()
    answer = await agent.process_message(QUESTION, thread_id="t")
    assert answer.response.model == "extractive"
    assert answer.answer.startswith("Adaptive batching sits at the encoder")
    assert answer.response.citations
    follow_up = await agent.process_message("And why does it sit there?", thread_id="t")
    assert follow_up.response.sources[0].uri == "batching.md"
    assert follow_up.answer.startswith("Adaptive batching sits at the encoder")
    assert follow_up.response.query == "And why does it sit there?"


async def test_by_rules_it_reads_on_around_a_fair_find() -> None:
    agent, _ = await make_agent()
    await add_document(agent.engine, "guide.md", ["Zebras drink in the", "morning at the river.", "Then they rest."])
    for confidence, opened in ((0.5, True), (0.9, False)):
        agent.engine.config = agent.engine.config.model_copy(update={"min_confidence": 0.0})
        fair = confidence

        async def retrieve(*args: Any, found: Any = agent.engine.retrieve, **kwargs: Any) -> Any:
            return await found(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ragents.agents.react.agent.confidence_of", lambda *_, c=fair: c)
            answer = await agent.process_message("When do zebras drink?", thread_id=f"t{confidence}")
        history = await agent.history(f"t{confidence}", principal=ANONYMOUS)
        assert ("open_document" in [r.name for r in results(history)]) is opened
        assert answer.response.sources[0].uri == "guide.md"


async def test_a_generative_model_that_calls_no_tools_answers_from_what_the_rules_find() -> None:
    engine = await make_engine()
    agent = ReactAgent(llm_client=FakeListChatModel(responses=["At the encoder [1]."]), rag_engine=engine)
    assert (await agent.process_message(QUESTION)).answer == "At the encoder [1]."


async def test_a_model_that_is_down_is_unavailable_unless_the_extractive_one_stands_behind_it() -> None:
    engine = await make_engine()
    down = NamedModel("down", ScriptedChatModel(responses=[ConnectionError()]))
    with pytest.raises(ModelUnavailable):
        await ReactAgent(llm_client=LLMClient([down]), rag_engine=engine).process_message(QUESTION)
    spare = NamedModel("extractive", ExtractiveChatModel(embed=engine.embedder.embed_documents))
    answer = await ReactAgent(llm_client=LLMClient([down, spare]), rag_engine=engine).process_message(QUESTION)
    assert (answer.response.model, answer.response.sources[0].uri) == ("extractive", "batching.md")


async def test_a_calculation_by_rules_needs_no_documents() -> None:
    agent, _ = await make_agent()
    answer = await agent.process_message("What is 12 * (3 + 4)?", turn=Turn(collection="nowhere"))
    assert "84" in answer.answer
    assert (answer.response.confidence, answer.response.sources) == (1.0, ())


@pytest.mark.parametrize(
    ("question", "expression"),
    [
        ("What is 12 * (3 + 4)?", "12 * (3 + 4)"),
        ("calculate 15% of 80", "15% of 80"),
        ("2^10 =", "2^10"),
        ("How much is 1,200.50 / 3?", "1,200.50 / 3"),
        ("What is 42?", None),
        ("What happened on 2024-01-15?", None),
        ("2024-01-15", None),
        ("Where are the 3 + 4 cats?", None),
        ("", None),
        ("()" * 5_000, None),
        ("1+" * 5_000, None),
    ],
)
def test_what_is_arithmetic(question: str, expression: str | None) -> None:
    assert arithmetic_in(question) == expression


async def test_each_step_says_what_it_does_and_the_graph_can_be_drawn() -> None:
    agent, _ = await make_agent(SEARCH, "At the encoder [1].")
    stream = agent.graph.astream(
        {"messages": [HumanMessage(QUESTION)]},
        config=thread_config(ANONYMOUS, "t"),
        context=Turn(),
        stream_mode="custom",
    )
    assert [part["status"] async for part in stream] == ["thinking", "using search_documents", "thinking", "answering"]
    assert {"reason", "tools", "answer"} <= set(agent.graph.get_graph().nodes)


async def test_an_effect_that_failed_is_told_and_not_declined() -> None:
    counter = Counter(ValueError("no"))
    agent, _ = await make_agent(calling(("send", {"to": "a"})), "It may have been sent.", tools=[counter.tool])
    assert (await agent.process_message("Please send a letter")).answer == "It may have been sent."
