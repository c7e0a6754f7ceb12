"""What is particular to Redis: its settings, its absence, and what lies in it."""

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ragents.agents.checkpointing.codec import Codec
from ragents.agents.checkpointing.redis import RedisLedger, Server, open_redis
from ragents.agents.checkpointing.redis.keys import escape, joined, parted, thread_keys, unescape
from ragents.agents.checkpointing.redis.opening import check_memory, check_version
from ragents.agents.checkpointing.redis.scripts import Script
from ragents.agents.checkpointing.rows import COUNTERS, Place, StoredCheckpoint
from ragents.agents.checkpointing.serializer import strict_serializer
from ragents.agents.checkpointing.types import CheckpointConfig
from ragents.errors import BackendUnavailable, ConfigError
from tests.conformance.test_checkpoint_savers import at, listed, put
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.savers import KEY, RedisStore

ANY_TEXT = st.text(st.characters(exclude_categories=[]))


@pytest.fixture
def server(home: Path) -> Iterator[RedisServer]:
    """One for the test alone, which stops it."""
    directory = home / uuid.uuid4().hex[:8]
    directory.mkdir()
    server = RedisServer(directory)
    server.start()
    yield server
    server.stop()


@given(ANY_TEXT, ANY_TEXT)
def test_escaped_ids_have_no_nul_and_keep_their_order(one: str, other: str) -> None:
    assert b"\0" not in escape(one)
    assert unescape(escape(one)) == one
    assert (escape(one) < escape(other)) == (one < other)


@given(st.lists(ANY_TEXT, min_size=1))
def test_joined_ids_come_apart_again(parts: list[str]) -> None:
    assert parted(joined(*parts)) == parts


@given(ANY_TEXT, ANY_TEXT)
def test_the_keys_of_a_thread_are_in_one_slot(tenant: str, thread: str) -> None:
    tags = {key[key.index("{") : key.index("}") + 1] for key in thread_keys(tenant, thread)}

    assert len(tags) == 1
    assert all(key.count("{") == key.count("}") == 1 for key in thread_keys(tenant, thread))


def test_an_old_server_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"6\.0\.16 is too old"):
        check_version({"redis_version": "6.0.16"})
    check_version({"redis_version": "7.4"})


def test_a_server_that_evicts_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="CONFIG SET maxmemory-policy noeviction.*of their own, apart from the cache"):
        check_memory({"maxmemory": 1_000_000, "maxmemory_policy": "volatile-lru"})
    check_memory({"maxmemory": 1_000_000, "maxmemory_policy": "noeviction"})
    assert not caplog.records

    check_memory({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"})
    assert "allkeys-lru" in caplog.text


async def test_a_server_that_does_not_persist_is_named_in_the_log(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with open_redis(CheckpointConfig.model_validate({"redis_url": redis_url})):
            pass

    assert "appendfsync everysec" in caplog.text


async def test_no_server_is_said_without_address_or_password() -> None:
    config = CheckpointConfig.model_validate({"redis_url": "redis://:sesame@127.0.0.1:1/0", "connect_timeout_s": 2})
    with pytest.raises(BackendUnavailable) as caught:
        async with open_redis(config):
            pass

    assert "sesame" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


async def test_a_wrong_url_is_a_configuration_error() -> None:
    for url in ("http://:sesame@localhost", "redis://a:b:sesame#/@localhost:x/1"):
        with pytest.raises(ConfigError, match="redis_url") as caught:
            async with open_redis(CheckpointConfig.model_validate({"redis_url": url})):
                pass
        assert "sesame" not in str(caught.value)


async def test_everything_is_gone_after_the_last_use(server: RedisServer) -> None:
    async with RedisStore(server.url).open(ttl_seconds=60) as saver:
        config = await put(saver, at("t", "space:1"), {"big": "x" * 5000}, run_id="run", parents={"": "root"})
        await saver.aput_writes(config, [("c", 1)], "task")
        client = saver._server.client
        left_ms = [await client.pttl(key) for key in await client.keys("*")]

        assert len(left_ms) == 4
        assert 0 < min(left_ms) <= max(left_ms) <= 90_000, "Redis takes each of them away"


async def test_a_deleted_thread_leaves_nothing(server: RedisServer) -> None:
    async with RedisStore(server.url).open() as saver:
        config = await put(saver, at("t"), {"big": "x" * 5000})
        await saver.aput_writes(config, [("c", 1)], "task")
        await RedisStore(server.url).leases(saver).take("", "t", ttl_s=5)
        await saver.adelete_thread("t")

        assert await saver._server.client.dbsize() == 0


async def test_trimming_leaves_no_row_behind(server: RedisServer) -> None:
    async with RedisStore(server.url).open(max_checkpoints_per_thread=1) as saver:
        config = at("t")
        for number in range(6):
            version = f"{number:08x}.a"
            config = await put(saver, config, {"c": number})
            root = {"": config["configurable"]["checkpoint_id"]}
            inner = await put(saver, at("t", f"call:{number}"), {"big": version * 1000}, parents=root)
            await saver.aput_writes(inner, [("c", 1)], "task")
        rows, index, _ = thread_keys("", "t")

        kinds = sorted(name[:1] for name in await saver._server.client.hkeys(rows))
        assert kinds == [b"b", b"c", b"c", b"k", b"w"]
        assert await saver._server.client.zcard(index) == 4  # two checkpoints, a write, a call's root


def needed_ancestors(kept: Mapping[str, StoredCheckpoint], others: Mapping[str, StoredCheckpoint]) -> set[str]:
    """The ids among `others` that the `kept` ones of a namespace cannot be rebuilt without.

    A delta channel's value is its nearest stored snapshot and all writes since: the chain back to it must stay.
    """
    needed: set[str] = set()
    for start in kept.values():
        seeking = set(start.metadata.get(COUNTERS, {}))
        parent = start.parent
        seen: set[str] = set()  # a forged chain may be a ring
        while seeking and parent is not None and parent not in seen:
            seen.add(parent)
            ancestor = kept.get(parent) or others.get(parent)
            if ancestor is None:
                break
            if parent in others:
                needed.add(parent)
            seeking -= set(ancestor.snapshots)
            parent = ancestor.parent
    return needed


@pytest.mark.parametrize("seed", range(20))
async def test_trimming_follows_the_rule_of_needed_ancestors(redis_url: str, seed: int) -> None:
    rng, thread, ids = random.Random(seed), f"trimmed-{uuid.uuid4()}", [f"{number:02d}" for number in range(12)]
    made: dict[str, StoredCheckpoint] = {}
    async with RedisStore(redis_url).open(max_checkpoints_per_thread=None) as saver:
        for place, id_ in enumerate(ids):
            parent = rng.choice([None, id_, *ids[max(0, place - 2) : place]])
            channels = rng.sample("abc", rng.randint(0, 3))
            metadata = {COUNTERS: {channel: [1, 1] for channel in channels}}
            snapshots = [channel for channel in "abc" if channel not in channels]
            made[id_] = StoredCheckpoint(Place("", thread, ""), id_, parent, metadata, b"", snapshots=snapshots)
            await saver._put(made[id_], fence=None)
        kept = {ids[-1]: made[ids[-1]]}
        others = {id_: made[id_] for id_ in ids[:-1]}
        await saver.aprune([thread])

        left = [name[1] async for name in saver._reader.names("", thread)]
        assert set(left) == needed_ancestors(kept, others) | set(kept)


async def test_a_chain_that_is_a_ring_ends(redis_url: str) -> None:
    thread = f"ring-{uuid.uuid4()}"
    async with RedisStore(redis_url).open(max_checkpoints_per_thread=None) as saver:
        for id_, parent in (("1", "2"), ("2", "1"), ("3", "3"), ("4", "2")):
            metadata = {COUNTERS: {"log": [1, 1]}}
            await saver._put(StoredCheckpoint(Place("", thread, ""), id_, parent, metadata, b""), fence=None)
        await saver.aprune([thread])

        assert [each.id async for each in saver._ancestors(Place("", thread, ""), "4")] == ["2", "1"]


async def test_answers_are_not_mixed_up_after_cancelled_calls(redis_url: str) -> None:
    async with RedisStore(redis_url).open(pool_size=4) as saver:
        for number in range(20):
            await put(saver, at(f"cancelled-{number}"), {"n": number})

        async def read(number: int, limit_s: float) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    found = await saver.aget_tuple(at(f"cancelled-{number}"))
                    assert found.checkpoint["channel_values"] == {"n": number}

        for limit_s in (0.0005, 0.001, 0.002, 0.004, 30):
            await asyncio.gather(*(read(number, limit_s) for number in range(20)))


async def test_an_expired_thread_leaves_the_list_of_threads(server: RedisServer) -> None:
    async with RedisStore(server.url).open(ttl_seconds=0.4) as saver:
        client = saver._server.client
        await put(saver, at("gone"))
        await client.unlink(*thread_keys("", "gone"))
        await asyncio.sleep(0.15)

        assert await listed(saver, None) == []
        assert await client.zcard("ragents:threads:") == 0


async def test_a_server_that_hangs_is_given_up(server: RedisServer) -> None:
    async with RedisStore(server.url).open(statement_timeout_s=0.5) as saver:
        await put(saver, at("t"))
        server.stand_still()
        began = time.monotonic()
        with pytest.raises(BackendUnavailable, match=r"0\.5 s"):
            await saver.aget_tuple(at("t"))
        with pytest.raises(BackendUnavailable):
            await asyncio.gather(*(put(saver, at("t")) for _ in range(30)))
        assert time.monotonic() - began < 8, "not one after the other"
        server.go_on()

        assert await saver.aget_tuple(at("t")) is not None


async def test_a_server_that_restarts_is_used_again(server: RedisServer) -> None:
    async with RedisStore(server.url).open(statement_timeout_s=2) as saver:
        await put(saver, at("t"))
        server.stop()
        with pytest.raises(BackendUnavailable):
            await put(saver, at("t"))
        server.start()

        await put(saver, at("t"))
        assert await saver.aget_tuple(at("t")) is not None


async def test_a_full_server_stores_nothing_and_says_so(server: RedisServer) -> None:
    async with RedisStore(server.url).open(enable_compression=False) as saver:
        await put(saver, at("t"), {"c": 1})
        client = saver._server.client
        await client.config_set("maxmemory", 1)
        with pytest.raises(BackendUnavailable, match="no memory left"):
            await put(saver, at("t"), {"big": "x" * 5000})
        await client.config_set("maxmemory", 0)

        assert (await saver.aget_tuple(at("t"))).checkpoint["channel_values"] == {"c": 1}
        assert len(await listed(saver, at("t"))) == 1


async def test_one_call_for_each_operation(server: RedisServer) -> None:
    async with RedisStore(server.url).open() as saver:
        client = saver._server.client
        config = await put(saver, at("t"))

        async def commands() -> int:
            stats = await client.info("commandstats")
            return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

        before = await commands()
        config = await put(saver, config)
        await saver.aput_writes(config, [("a", 1), ("b", 2)], "task")
        await saver.aget_tuple(at("t"))  # the first time as text
        await saver.aget_tuple(at("t"))

        assert await commands() - before == 5


async def test_a_cluster_is_used_like_one_server(home: Path) -> None:
    port = free_port(and_above=10_000)  # the cluster's own
    directory = home / uuid.uuid4().hex[:8]
    directory.mkdir()
    server = RedisServer(directory, port=str(port), bind="127.0.0.1", cluster_enabled="yes")
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
                await asyncio.sleep(0.05)
        async with RedisStore(f"redis://127.0.0.1:{port}").open(redis_cluster=True) as saver:
            config = await put(saver, at("t", tenant="a"), {"big": "x" * 5000}, run_id="run")
            await saver.aput_writes(config, [("c", 1)], "task")
            assert (await saver.aget_tuple(config)).pending_writes == [("task", "c", 1)]
            assert len(await listed(saver.for_tenant("a"), None)) == 1
            await asyncio.gather(*(put(saver, at(f"t{number}", tenant="b")) for number in range(100)))
            await saver.for_tenant("a").adelete_for_runs(["run"])
            assert await listed(saver.for_tenant("a"), at("t")) == []
            await saver.for_tenant("a").adelete_thread("t")
    finally:
        server.stop()


def test_every_script_says_what_it_is() -> None:
    for file in Path(Script.__init__.__code__.co_filename).parent.glob("*.lua"):
        assert file.read_text().startswith("-- "), file


@dataclass(frozen=True)
class Key:
    tenant: str
    thread: str


@pytest.fixture
def key() -> Key:
    return Key("a", str(uuid.uuid4()))


async def test_the_ledger_runs_a_call_once(redis_url: str, key: Key) -> None:
    async with open_redis(CheckpointConfig.model_validate({"redis_url": redis_url})) as client:
        ledger = RedisLedger(
            Server(client, timeout_s=5, at_once=10), serde=strict_serializer(), codec=Codec(), ttl_s=60
        )
        begun = await asyncio.gather(*(ledger.begin(key, "call\0*") for _ in range(10)))
        assert sorted(entry.state for entry in begun) == ["new"] + ["started"] * 9

        await ledger.finish(key, "call\0*", "first")
        await ledger.finish(key, "call\0*", "second")
        done = await ledger.begin(key, "call\0*")
        assert (done.state, done.result) == ("done", "first")
        assert (await ledger.begin(Key("b", key.thread), "call\0*")).state == "new"

        await ledger.forget(key)
        assert (await ledger.begin(key, "call\0*")).state == "new"


async def test_the_ledger_ends_with_the_thread_and_is_encrypted(redis_url: str, key: Key) -> None:
    async with RedisStore(redis_url).open(encryption_keys=[KEY]) as saver:
        ledger = RedisLedger(saver._server, serde=strict_serializer(), codec=saver.codec, ttl_s=60)
        await ledger.begin(key, "call")
        await ledger.finish(key, "call", "secret")
        rows = await saver._server.client.hgetall(thread_keys(key.tenant, key.thread)[0])
        assert not [value for value in rows.values() if b"secret" in value]

        await saver.for_tenant("a").adelete_thread(key.thread)
        assert (await ledger.begin(key, "call")).state == "new"
