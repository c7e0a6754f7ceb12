"""open_app: the composition root. Everything opens here, in order, and closes in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ragents.agents.checkpointing import OnWrite, ThreadState, open_thread_state
from ragents.agents.checkpointing.postgres import migrate_threads
from ragents.agents.conversations import Conversations
from ragents.agents.langgraph_base import LangGraphAgent
from ragents.agents.react import ReactAgent
from ragents.agents.table import AGENTS
from ragents.agents.types import AgentConfig
from ragents.config import data_home, in_image
from ragents.deployment.config import ServiceConfig
from ragents.deployment.keys import Audit, Gate, KeyStore, LoggedAudit, MemoryKeys
from ragents.deployment.keys.postgres import PostgresAudit, PostgresKeys
from ragents.deployment.rate_limiting import RateLimiter, open_rate_limiter
from ragents.embedded import open_postgres
from ragents.embeddings import EncoderService, Observer, open_embedder
from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.types import Embedder
from ragents.errors import ConfigError
from ragents.llm.client import LLMClient, OnFailure
from ragents.postgres import Connections, PoolUse
from ragents.rag.cache import RAGCache, get_cache
from ragents.rag.cache.semantic import SemanticCache, create_semantic_cache
from ragents.rag.engine import RAGEngine
from ragents.rag.rerank import open_reranking
from ragents.rag.store import open_store
from ragents.rag.store.pgvector import PgVectorStore, migrate
from ragents.rag.store.types import StoreConfig, VectorStore

APP_ROLE = "ragents_app"
"""The role that serves on the embedded Postgres."""


@dataclass(frozen=True, slots=True)
class App:
    """What the service and the CLI work with. All of it is open as long as `open_app` is.

    `encoder` is the bare one, for ingestion: a bulk load would push the questions out of `embedder`'s cache.
    """

    config: ServiceConfig
    encoder: Embedder
    embedder: Embedder
    store: VectorStore
    cache: RAGCache
    semantic: SemanticCache
    llm: LLMClient
    engine: RAGEngine
    threads: ThreadState
    conversations: Conversations
    limiter: RateLimiter
    keys: KeyStore
    gate: Gate
    audit: Audit
    embedded_postgres: bool

    def pools(self) -> list[PoolUse]:
        """How full each pool of connections to Postgres is."""
        found: list[Connections] = list(self.store.pools) if isinstance(self.store, PgVectorStore) else []
        own: Connections | None = getattr(self.threads.saver, "connections", None)  # only the saver on Postgres has any
        if own is not None and not any(own.shares_pool_with(each) for each in found):
            found.append(own)
        return [each.pool_use for each in found]


@dataclass(frozen=True, slots=True)
class Database:
    """`dsn` serves; `migrate_dsn` may change the schema, where it is known."""

    dsn: str | None
    migrate_dsn: str | None
    embedded: bool = False


@asynccontextmanager
async def open_app(
    config: ServiceConfig,
    *,
    on_batch: Observer | None = None,
    on_model_failure: OnFailure | None = None,
    on_checkpoint: OnWrite | None = None,
    encoder_service: EncoderService | None = None,
) -> AsyncIterator[App]:
    """`on_batch` is told of each batch of the encoder, which is in this process unless `encoder_service` has it;
    `on_model_failure` of each failed call of a language model, `on_checkpoint` of what is stored of threads.

    Raises ConfigError for settings that cannot work and BackendUnavailable for a neighbour that is down.
    """
    async with AsyncExitStack() as stack:
        encoder = await stack.enter_async_context(
            open_embedder(
                config.embeddings, model=config.rag.embedding_model, observe=on_batch, service=encoder_service
            )
        )
        database = await stack.enter_async_context(open_database(config.store))
        store = await stack.enter_async_context(
            open_store(config.store, dsn=database.dsn, migrate_dsn=database.migrate_dsn)
        )
        shared = store.connections if isinstance(store, PgVectorStore) else None
        threads = await stack.enter_async_context(
            open_thread_state(config.checkpoint, shared=shared, on_write=on_checkpoint)
        )
        cache = get_cache(config.cache)
        stack.push_async_callback(cache.close)
        cached_embedder = CachedEmbedder(encoder, cache)
        llm = LLMClient(config.llm, embed=cached_embedder.embed_documents, on_failure=on_model_failure)
        reranking = await stack.enter_async_context(open_reranking(config.rerank))
        engine = RAGEngine(
            embedder=cached_embedder, store=store, config=config.rag, cache=cache, llm=llm, reranking=reranking
        )
        semantic = create_semantic_cache(config.semantic_cache, embedder=cached_embedder, connections=shared)
        await semantic.start()
        limiter = await stack.enter_async_context(
            open_rate_limiter(config.rate_limit, processes=config.rate_limit.replicas * config.serving.workers)
        )
        keys, audit = _keys_and_audit(shared)
        agents = create_agents(llm=llm, engine=engine, threads=threads, config=config.agents)
        yield App(
            config=config,
            encoder=encoder,
            embedder=cached_embedder,
            store=store,
            cache=cache,
            llm=llm,
            engine=engine,
            threads=threads,
            semantic=semantic,
            conversations=Conversations(agents, cache=cache, semantic=semantic, threads=threads, config=config.agents),
            limiter=limiter,
            keys=keys,
            gate=Gate(keys, config.auth, limits=config.rate_limit.limits),
            audit=audit,
            embedded_postgres=database.embedded,
        )


@asynccontextmanager
async def open_database(config: StoreConfig) -> AsyncIterator[Database]:
    """The Postgres to serve from, with its schema up to date wherever the migrating role is known."""
    async with AsyncExitStack() as stack:
        database = await _find_database(config, stack)
        if database.migrate_dsn is not None and database.dsn is not None:
            await migrate_all(database.migrate_dsn, dsn=database.dsn)
        yield database


async def migrate_all(migrate_dsn: str, *, dsn: str) -> list[str]:
    """Bring every schema up to date and give the role of `dsn` its rights. The migrations applied, by name."""
    serving = urlsplit(dsn)
    if not serving.username:
        raise ConfigError("store.dsn names no user; expected postgresql://USER:PASSWORD@HOST/DATABASE")
    role = unquote(serving.username)
    password = unquote(serving.password) if serving.password else None
    applied = await migrate(migrate_dsn, app_role=role, app_password=password)
    return applied + await migrate_threads(migrate_dsn, app_role=role)


def create_agents(
    *, llm: LLMClient, engine: RAGEngine, threads: ThreadState, config: AgentConfig
) -> dict[str, LangGraphAgent]:
    """Every agent of the table; those with tools record their side effects where the threads are."""
    common: dict[str, Any] = {
        "llm_client": llm,
        "rag_engine": engine,
        "checkpointer": threads.saver,
        "config": config,
    }
    return {
        name: agent(**common, ledger=threads.ledger) if issubclass(agent, ReactAgent) else agent(**common)
        for name, agent in AGENTS.items()
    }


def _keys_and_audit(shared: Connections | None) -> tuple[KeyStore, Audit]:
    """In the store's Postgres; without one there are no keys but the bootstrap key."""
    return (MemoryKeys(), LoggedAudit()) if shared is None else (PostgresKeys(shared), PostgresAudit(shared))


async def _find_database(config: StoreConfig, stack: AsyncExitStack) -> Database:
    if config.backend == "memory":
        return Database(None, None)
    if config.dsn is not None:
        migrate_dsn = config.migrate_dsn.get_secret_value() if config.migrate_dsn else None
        return Database(config.dsn.get_secret_value(), migrate_dsn)
    if config.migrate_dsn is not None:
        raise ConfigError("store.migrate_dsn is set and store.dsn is not; set the role that serves as well")
    if in_image():
        raise ConfigError(
            "store.dsn is not set, and in an image there is no embedded Postgres: what it stored would be lost with "
            "the container; set RAGENTS_STORE__DSN=postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    owner = await stack.enter_async_context(open_postgres(data_home() / "postgres"))
    return Database(owner.replace("://postgres@", f"://{APP_ROLE}@", 1), owner, embedded=True)
