"""Checkpoint savers: ours on Postgres and Redis beside LangGraph's own, and beside the bytes alone.

One pair is one put and one put_writes, as a step of a graph makes them. The state: a conversation of nine messages that
grows, five sources of 800 characters, and some small channels. The floor stores the same number of bytes with two
statements per pair and nothing of ours around them. Every candidate runs in every round; medians are printed.
"""

import asyncio
import gc
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import asyncpg
import redis.asyncio
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send

from benchmarks.servers import redis_server
from ragents.agents.checkpointing import CheckpointConfig, open_checkpoint_saver
from ragents.embedded import open_postgres

ROUNDS = 3
SECONDS = 2.0
TASKS = (1, 32)
POOL = 10
TURNS = 200
FAN_OUT = 16
Open = Callable[[], AbstractAsyncContextManager[BaseCheckpointSaver[Any]]]


@dataclass(frozen=True)
class Candidate:
    """`size` gives the bytes on disk (or in memory) of everything stored."""

    name: str
    open: Open
    size: Callable[[], Awaitable[int]]
    clear: Callable[[], Awaitable[None]]


def run() -> list[dict[str, object]]:
    return asyncio.run(measure_all())


async def measure_all() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        async with open_postgres(home / "postgres") as dsn, redis_server(home) as redis_url:
            candidates = [*postgres_candidates(dsn), *redis_candidates(redis_url), memory_candidate()]
            rows += await rates(candidates)
            rows += await floors(dsn, redis_url)
            rows += await sizes([each for each in candidates if each.name != "InMemorySaver"])
            rows += await programs(candidates)
    report(rows)
    return rows


def postgres_candidates(dsn: str) -> list[Candidate]:
    def ours(**changes: Any) -> Open:
        config = CheckpointConfig(postgres_url=dsn, pool_size=POOL, **changes)  # type: ignore[arg-type]
        return lambda: open_checkpoint_saver(config)

    @asynccontextmanager
    async def upstream() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool

        arguments = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(dsn, min_size=1, max_size=POOL, open=False, kwargs=arguments) as pool:
            saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
            await saver.setup()
            yield saver

    def in_tables(*tables: str) -> dict[str, Any]:
        async def size() -> int:
            return int(
                await query(dsn, "SELECT sum(pg_total_relation_size(t::regclass)) FROM unnest($1::text[]) t", [*tables])
            )

        async def clear() -> None:
            await query(dsn, f"TRUNCATE {', '.join(tables)}")
            await query(dsn, "CHECKPOINT")  # or the next candidate would share the cores with what this one wrote

        return {"size": size, "clear": clear}

    own = in_tables(*(f"ragents_threads.langgraph_{name}" for name in ("checkpoints", "writes", "blobs", "threads")))
    theirs = in_tables("checkpoints", "checkpoint_writes", "checkpoint_blobs")
    return [
        Candidate("postgres", ours(), **own),
        Candidate("postgres, nothing trimmed", ours(max_checkpoints_per_thread=None), **own),
        Candidate("AsyncPostgresSaver", upstream, **theirs),
    ]


def redis_candidates(url: str) -> list[Candidate]:
    client = redis.asyncio.Redis.from_url(url)

    async def size() -> int:
        return int((await client.info("memory"))["used_memory"])

    async def clear() -> None:
        await client.flushdb()

    def ours(**changes: Any) -> Open:
        config = CheckpointConfig(backend="redis", redis_url=url, pool_size=POOL, **changes)  # type: ignore[arg-type]
        return lambda: open_checkpoint_saver(config)

    return [
        Candidate("redis", ours(), size, clear),
        Candidate("redis, nothing trimmed", ours(max_checkpoints_per_thread=None), size, clear),
    ]


def memory_candidate() -> Candidate:
    @asynccontextmanager
    async def memory() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        yield InMemorySaver()

    async def nothing() -> int:
        return 0

    async def clear() -> None:
        return None

    return Candidate("InMemorySaver", memory, nothing, clear)


async def query(dsn: str, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


# Steps of a graph, as they come to a saver


def text(length: int, seed: int) -> str:
    words = random.Random(seed).choices(
        "the of encoder batch store answer question thread agent document passage vector index query lease".split(),
        k=length // 6,
    )
    return " ".join(words)


SOURCES = [{"id": str(uuid.uuid4()), "uri": f"docs/{n}.md", "text": text(800, n), "score": 0.5} for n in range(5)]


class Steps:
    """One thread: each step is a new checkpoint, and the writes that lead to the next."""

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": str(uuid.uuid4()), "checkpoint_ns": ""}}
        self.messages: list[BaseMessage] = [HumanMessage(text(250, n), id=str(uuid.uuid4())) for n in range(8)]
        self.versions: dict[str, Any] = {}
        self.step = 0

    async def pair(self) -> None:
        version = self.saver.get_next_version(max(self.versions.values()) if self.versions else None, None)
        changed = ["messages", "branch:to:answer"] if self.step % 2 else ["sources", "branch:to:retrieve"]
        if self.step == 0:
            changed = ["messages", "sources", "collection", "branch:to:answer"]
        if "messages" in changed:
            self.messages = [*self.messages[-8:], AIMessage(text(250, self.step), id=str(uuid.uuid4()))]
        new = dict.fromkeys(changed, version)
        self.versions = {**self.versions, **new}
        values = {"messages": self.messages, "sources": SOURCES, "collection": "default"}
        checkpoint = {
            **empty_checkpoint(),
            "id": str(uuid6(clock_seq=self.step)),
            "channel_values": values,
            "channel_versions": self.versions,
            "versions_seen": {"retrieve": dict(self.versions), "answer": dict(self.versions)},
        }
        metadata: Any = {"source": "loop", "step": self.step, "parents": {}}
        self.config = await self.saver.aput(self.config, checkpoint, metadata, new)  # type: ignore[arg-type]
        writes = [("messages", self.messages[-1]), ("branch:to:answer", None)]
        await self.saver.aput_writes(self.config, writes, str(uuid.uuid4()), "~__pregel_pull, answer")
        self.step += 1


async def rate(work: Callable[[int], Awaitable[None]], tasks: int) -> tuple[float, float]:
    """(operations per second, CPU milliseconds of this process per operation)"""
    done = 0
    gc.collect()
    gc.freeze()  # what other candidates have loaded is not gone through in this one's time
    until = time.perf_counter() + SECONDS

    async def repeat(number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await work(number)
            done += 1

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(repeat(number) for number in range(tasks)))
    return done / (time.perf_counter() - started), (time.process_time() - cpu) * 1000 / max(done, 1)


async def rates(candidates: list[Candidate]) -> list[dict[str, object]]:
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for candidate in candidates:
            async with candidate.open() as saver:
                for tasks in TASKS:
                    threads = [Steps(saver) for _ in range(tasks)]

                    async def pair(number: int, threads: list[Steps] = threads) -> None:
                        await threads[number].pair()

                    async def get(number: int, threads: list[Steps] = threads) -> None:
                        where = {"thread_id": threads[number].config["configurable"]["thread_id"], "checkpoint_ns": ""}
                        await saver.aget_tuple({"configurable": where})

                    found.setdefault((candidate.name, "put+writes", tasks), []).append(await rate(pair, tasks))
                    found.setdefault((candidate.name, "get_tuple", tasks), []).append(await rate(get, tasks))
                await candidate.clear()
    return [row(*key, values) for key, values in found.items()]


async def floors(dsn: str, redis_url: str) -> list[dict[str, object]]:
    """The same bytes (as our saver writes them), two statements per pair."""
    payload = random.Random(1).randbytes(2600)
    write = random.Random(2).randbytes(250)
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    await query(dsn, "CREATE TABLE floor (id text PRIMARY KEY, payload bytea)")
    await query(dsn, "ALTER TABLE floor ALTER COLUMN payload SET STORAGE EXTERNAL")
    async with asyncpg.create_pool(dsn, min_size=POOL, max_size=POOL) as pool:
        client = redis.asyncio.Redis.from_url(redis_url)

        async def insert(_: int) -> None:
            for data in (payload, write):
                await pool.execute("INSERT INTO floor VALUES ($1, $2)", str(uuid.uuid4()), data)

        async def select(_: int) -> None:
            await pool.fetchrow("SELECT payload FROM floor WHERE id = $1", key)

        async def put(_: int) -> None:
            for data in (payload, write):
                await client.set(str(uuid.uuid4()), data)

        async def get(_: int) -> None:
            await client.get("key")

        key = str(uuid.uuid4())
        await pool.execute("INSERT INTO floor VALUES ($1, $2)", key, payload)
        await client.set("key", payload)
        for _ in range(ROUNDS):
            for tasks in TASKS:
                for name, operation, work in (
                    ("one INSERT each", "put+writes", insert),
                    ("one SELECT", "get_tuple", select),
                    ("one SET each", "put+writes", put),
                    ("one GET", "get_tuple", get),
                ):
                    found.setdefault((name, operation, tasks), []).append(await rate(work, tasks))
        await client.flushdb()
        await client.aclose()
    return [row(*key, values) for key, values in found.items()]


def row(name: str, operation: str, tasks: int, values: list[tuple[float, float]]) -> dict[str, object]:
    return {
        "name": name,
        "operation": operation,
        "tasks": tasks,
        "per_second": round(statistics.median(each[0] for each in values), 1),
        "cpu_ms": round(statistics.median(each[1] for each in values), 3),
    }


async def sizes(candidates: list[Candidate]) -> list[dict[str, object]]:
    """Bytes per checkpoint with its writes: 20 threads of 100 steps."""
    rows: list[dict[str, object]] = []
    for candidate in candidates:
        async with candidate.open() as saver:
            before = await candidate.size()
            for _ in range(20):
                thread = Steps(saver)
                for _ in range(100):
                    await thread.pair()
            rows.append(
                {
                    "name": candidate.name,
                    "operation": "bytes",
                    "per_checkpoint": (await candidate.size() - before) // 2000,
                }
            )
            await candidate.clear()
    return rows


# LangGraph's own programs


class Conversation(TypedDict, total=False):
    messages: Annotated[list[BaseMessage], add_messages]
    sources: list[dict[str, Any]]
    parts: Annotated[list[int], add]


def conversation(saver: BaseCheckpointSaver[Any]) -> Any:
    def retrieve(state: Conversation) -> Conversation:
        return {"sources": SOURCES}

    def answer(state: Conversation) -> Conversation:
        return {"messages": [AIMessage(text(300, len(state["messages"])))]}

    graph = StateGraph(Conversation)
    graph.add_node("retrieve", retrieve)
    graph.add_node("answer", answer)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


def fan_out(saver: BaseCheckpointSaver[Any]) -> Any:
    async def part(state: dict[str, int]) -> Conversation:
        return {"parts": [state["n"]]}

    graph = StateGraph(Conversation)
    graph.add_node("part", part)  # type: ignore[type-var]
    graph.add_conditional_edges(START, lambda _: [Send("part", {"n": n}) for n in range(FAN_OUT)], ["part"])
    graph.add_edge("part", END)
    return graph.compile(checkpointer=saver)


async def programs(candidates: list[Candidate]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for candidate in candidates:
        async with candidate.open() as saver:
            graph = fan_out(saver)
            times = []
            for _ in range(20):
                started = time.perf_counter()
                await graph.ainvoke(
                    {"parts": []}, {"configurable": {"thread_id": str(uuid.uuid4())}}, durability="sync"
                )
                times.append((time.perf_counter() - started) * 1000)
            rows.append({"name": candidate.name, "operation": "fan-out", "ms": round(statistics.median(times), 1)})
            await candidate.clear()
            graph, before = conversation(saver), await candidate.size()
            config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
            started = time.perf_counter()
            for turn in range(TURNS):
                await graph.ainvoke({"messages": [HumanMessage(text(100, turn))]}, config, durability="sync")
            seconds = time.perf_counter() - started
            size = await candidate.size() - before
            rows.append({"name": candidate.name, "operation": "200 turns", "seconds": round(seconds, 2), "bytes": size})
            await candidate.clear()
    return rows


def report(rows: list[dict[str, object]]) -> None:
    print(f"{'':28}{'operation':12}{'tasks':>6}{'per s':>9}{'CPU ms':>8}")
    for each in rows:
        if "per_second" in each:
            print(
                f"{each['name']:28}{each['operation']:12}{each['tasks']:>6}{each['per_second']:>9}{each['cpu_ms']:>8}"
            )
    print()
    for each in rows:
        if each["operation"] == "bytes":
            print(f"{each['name']:28}{each['per_checkpoint']:>9} bytes per checkpoint with its writes")
    for each in rows:
        if each["operation"] == "fan-out":
            print(f"{each['name']:28}{each['ms']:>9} ms for a fan-out to {FAN_OUT} tasks")
    for each in rows:
        if each["operation"] == "200 turns":
            megabytes = int(str(each["bytes"])) / 1e6
            print(f"{each['name']:28}{each['seconds']:>9} s and {megabytes:8.2f} MB for {TURNS} turns on one thread")
    rate_of = {(r["name"], r["operation"], r["tasks"]): float(str(r["per_second"])) for r in rows if "per_second" in r}
    bytes_of = {r["name"]: float(str(r["per_checkpoint"])) for r in rows if r["operation"] == "bytes"}
    peer = "AsyncPostgresSaver"
    print()
    for name in ("postgres", "redis"):
        for operation in ("put+writes", "get_tuple"):
            for tasks in TASKS:
                theirs = rate_of[peer, operation, tasks]
                ratios = [rate_of[each, operation, tasks] / theirs for each in (name, f"{name}, nothing trimmed")]
                print(f"{name}: {ratios[0]:.2f} x {peer} in {operation} at {tasks} tasks; {ratios[1]:.2f} x untrimmed")
        ratio = bytes_of[f"{name}, nothing trimmed"] / bytes_of[peer]
        print(f"{name}: {ratio:.2f} x its bytes, nothing trimmed; {bytes_of[name] / bytes_of[peer]:.2f} x by default")
