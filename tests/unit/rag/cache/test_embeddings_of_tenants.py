"""What one tenant had embedded is no hit for another: else the time of an answer would tell what others have asked."""

from collections.abc import AsyncIterator, Sequence

import pytest

from ragents.agents.conversations import Conversations
from ragents.agents.table import AGENTS
from ragents.agents.types import Turn
from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.llm.extractive import extractive_client
from ragents.principal import Principal
from ragents.rag.cache import OF_DOCUMENTS, CacheConfig, MemoryCache, RAGCache
from ragents.rag.cache.semantic import MemoryAnswers, SemanticCache, SemanticCacheConfig
from ragents.rag.engine import RAGEngine
from ragents.rag.store.memory import MemoryVectorStore
from tests.doubles import TEXTS, add_document

OURS, THEIRS = Principal(tenant="ours"), Principal(tenant="theirs")
QUESTION = "Where does adaptive batching sit?"
LONG = "the encoder takes no question as long as this one " * 200


class Asked(HashingEmbedder):
    """Notes what it is asked to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def told(self) -> set[str]:
        told, self.texts = set(self.texts), []
        return told

    async def embed_query(self, text: str) -> Vectors:
        self.texts.append(text)
        return await super().embed_query(text)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return await super().embed_documents(texts)


class Setup:
    def __init__(self) -> None:
        self.inner = Asked()
        self.cache = RAGCache(CacheConfig(retrieval_ttl=0, answer_ttl=0), MemoryCache(10**7))
        embedder = CachedEmbedder(self.inner, self.cache)
        llm = extractive_client(embedder.embed_documents)
        self.engine = RAGEngine(embedder=embedder, store=MemoryVectorStore(), cache=self.cache, llm=llm)
        self.engine.config = self.engine.config.model_copy(update={"min_confidence": 0.0})
        config = SemanticCacheConfig(enabled=True, shadow_share=1)  # it embeds the question, and never answers it
        semantic = SemanticCache(config, MemoryAnswers(config), embedder=embedder)
        semantic.off_because = None  # the double of the encoder would fail its self-test
        self.conversations = Conversations(
            {name: agent(llm_client=llm, rag_engine=self.engine) for name, agent in AGENTS.items()},
            cache=self.cache,
            semantic=semantic,
        )

    async def ask(self, principal: Principal, agent: str, question: str = QUESTION) -> set[str]:
        """The texts that had to be embedded for it."""
        await self.conversations.ask(question, agent_type=agent, turn=Turn(principal=principal))
        return self.inner.told()


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    made = Setup()
    for principal in (OURS, THEIRS):
        for uri, text in TEXTS.items():
            await add_document(made.engine, uri, [text], principal=principal)
    made.inner.told()
    yield made
    await made.cache.close()


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_question_that_another_tenant_has_asked_is_embedded_anew(setup: Setup, agent: str) -> None:
    first = await setup.ask(OURS, agent)
    assert len(first) > 1, "the question and sentences"
    assert await setup.ask(OURS, agent) == set()
    assert await setup.ask(THEIRS, agent) == first
    assert await setup.ask(THEIRS, agent) == set()


async def test_so_is_one_that_is_searched_in_parts(setup: Setup) -> None:
    async def embedded(principal: Principal) -> set[str]:
        await setup.engine.retrieve(LONG, principal=principal)
        return setup.inner.told()

    first = await embedded(OURS)
    assert len(first) > 1
    assert await embedded(OURS) == set()
    assert await embedded(THEIRS) == first


async def test_a_tenants_statistics_tell_of_its_own_embeddings_alone(setup: Setup) -> None:
    await setup.ask(OURS, "simple")
    mine, theirs = [(await setup.cache.stats(tenant=each.tenant))["embedding"] for each in (OURS, THEIRS)]
    assert mine.entries == mine.misses > 1
    assert (theirs.entries, theirs.bytes, theirs.hits, theirs.misses) == (0, 0, 0, 0)


async def test_what_is_embedded_on_nobodys_behalf_is_not_kept(setup: Setup) -> None:
    for _ in range(2):
        await setup.engine.embedder.embed_query("a")
    assert setup.inner.texts == ["a", "a"]
    assert (await setup.cache.stats())["embedding"].entries == 0


async def test_a_deleted_documents_sentences_leave_no_vectors_and_other_tenants_keep_theirs(setup: Setup) -> None:
    await setup.ask(OURS, "simple")
    first = await setup.ask(THEIRS, "simple")
    for layer in OF_DOCUMENTS:
        await setup.cache.clear(layer, tenant=OURS.tenant)
    assert await setup.ask(OURS, "simple") == first
    assert await setup.ask(THEIRS, "simple") == set()
