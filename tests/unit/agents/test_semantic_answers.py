"""An answer that serves another wording of its question, on the way from question to thread."""

from ragents.agents import Turn
from ragents.agents.conversations import Conversations
from ragents.agents.simple import SimpleAgent
from ragents.principal import ANONYMOUS
from ragents.rag.cache.semantic import SemanticCacheConfig, create_semantic_cache
from tests.doubles import ScriptedChatModel, add_document, make_cache, make_engine

QUESTION, SAME = "Where does adaptive batching sit?", "Hi, where does adaptive batching sit?"
OPPOSITE = "Where does adaptive batching not sit?"
CONFIG = SemanticCacheConfig(enabled=True, threshold=0.5, min_confidence=0.0, shadow_share=0.0)


async def make(config: SemanticCacheConfig = CONFIG) -> tuple[Conversations, ScriptedChatModel]:
    engine = await make_engine()
    model = ScriptedChatModel(responses=["At the encoder [1]."])
    semantic = create_semantic_cache(config, embedder=engine.embedder)
    semantic.off_because = None  # the self-test is for the real encoder
    agent = SimpleAgent(llm_client=model, rag_engine=engine)
    return Conversations({"simple": agent}, cache=make_cache(), semantic=semantic), model


async def test_another_wording_is_told_the_same_answer_and_how_near_it_is() -> None:
    conversations, model = await make()
    await conversations.ask(QUESTION)
    answer = (await conversations.ask(SAME)).response
    assert (answer.cached, answer.query, answer.answer) == ("semantic", SAME, "At the encoder [1].")
    assert answer.cached_similarity is not None
    assert answer.cached_similarity >= 0.5
    assert answer.usage.prompt_tokens == 0
    assert len(model.seen) == 1


async def test_the_opposite_another_tenant_and_a_change_miss() -> None:
    conversations, model = await make()
    await conversations.ask(QUESTION)
    assert (await conversations.ask(OPPOSITE)).response.cached is None
    await add_document(conversations.agent("simple").engine, "new.md", ["Something new."])
    assert (await conversations.ask(SAME)).response.cached is None
    assert len(model.seen) == 3


async def test_answers_of_a_named_thread_are_not_kept() -> None:
    conversations, _ = await make()
    await conversations.ask(QUESTION, thread_id="mine")
    assert (await conversations.ask(SAME)).response.cached is None


async def test_without_the_cache_nothing_is_found_or_kept() -> None:
    conversations, _ = await make()
    await conversations.ask(QUESTION, turn=Turn(use_cache=False))
    assert (await conversations.ask(SAME)).response.cached is None
    assert (await conversations.ask(QUESTION, turn=Turn(use_cache=False))).response.cached is None


async def test_a_shadow_is_answered_afresh_and_compared() -> None:
    conversations, model = await make(CONFIG.model_copy(update={"shadow_share": 1.0}))
    await conversations.ask(QUESTION)
    assert (await conversations.ask(SAME)).response.cached is None
    assert len(model.seen) == 2
    assert conversations.semantic is not None
    stats = await conversations.semantic.stats(tenant=ANONYMOUS.tenant)
    assert (stats.shadow_samples, stats.shadow_differences) == (1, 0)


async def test_it_is_off_unless_it_is_switched_on() -> None:
    engine = await make_engine()
    semantic = create_semantic_cache(SemanticCacheConfig(), embedder=engine.embedder)
    await semantic.start()
    agent = SimpleAgent(llm_client=ScriptedChatModel(responses=["At the encoder [1]."]), rag_engine=engine)
    conversations = Conversations({"simple": agent}, cache=make_cache(), semantic=semantic)
    await conversations.ask(QUESTION)
    assert (await conversations.ask(SAME)).response.cached is None
