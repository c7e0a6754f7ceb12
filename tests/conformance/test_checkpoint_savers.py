"""What every durable checkpoint saver does: LangGraph's conformance suite, and what that leaves out."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.conformance import checkpointer_test, validate

from ragents.agents.checkpointing.base import DurableSaver
from ragents.errors import Conflict, InputError, ThreadTaken
from tests.savers import Store

STRANGE = [
    "*", "?", "[a-z]", "{braces}", "a:b", "a|b", '"', "'", "\\", "\\\\0", "a\0b", "\0", "\1", "\0\1\2", "ü€😀",
    "%00", "a b\n", "..", "\ud800",
]  # fmt: skip


def at(thread: str, namespace: str = "", **where: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, **where}}


def everywhere(thread: str) -> dict[str, Any]:
    """All namespaces."""
    return {"configurable": {"thread_id": thread}}


def made(values: dict[str, Any] | None = None, version: str | None = None) -> Checkpoint:
    checkpoint = empty_checkpoint()
    checkpoint["id"] = str(uuid6())
    checkpoint["channel_values"] = values or {}
    checkpoint["channel_versions"] = dict.fromkeys(values or {}, version or "00000001.a")
    return checkpoint


async def put(
    saver: DurableSaver, config: dict[str, Any], values: dict[str, Any] | None = None, **metadata: Any
) -> Any:
    checkpoint = made(values)
    return await saver.aput(config, checkpoint, {"parents": {}, **metadata}, checkpoint["channel_versions"])


async def chain(saver: DurableSaver, thread: str, count: int, namespace: str = "", **metadata: Any) -> list[str]:
    config, ids = at(thread, namespace), []
    for step in range(count):
        config = await put(saver, config, {"step": step}, step=step, **metadata)
        ids.append(config["configurable"]["checkpoint_id"])
    return ids


async def listed(saver: DurableSaver, config: dict[str, Any] | None, **how: Any) -> list[str]:
    return [each.checkpoint["id"] async for each in saver.alist(config, **how)]


@pytest.fixture
def thread() -> str:
    return str(uuid.uuid4())


async def test_langgraph_finds_it_conformant(store: Store, variant: dict[str, Any]) -> None:
    @checkpointer_test(name="durable")
    async def savers() -> AsyncIterator[DurableSaver]:
        async with store.open(**variant) as saver:
            yield saver

    report = await validate(savers)

    results = report.results.values()
    assert [failure for result in results for failure in result.failures] == []
    assert [result.detected for result in results] == [True] * 8
    assert sum(result.tests_passed for result in results) == 81


async def test_writes_come_in_the_order_of_their_tasks(saver: DurableSaver, thread: str) -> None:
    config = await put(saver, at(thread))
    await saver.aput_writes(config, [("c", "third"), ("c", "fourth")], "task-a", "~path, 2")
    await saver.aput_writes(config, [("c", "second")], "task-z", "~path, 1")
    await saver.aput_writes(config, [("c", "first")], "task-0")

    found = await saver.aget_tuple(config)

    assert [value for _, _, value in found.pending_writes] == ["first", "second", "third", "fourth"]


async def test_an_ordinary_write_stays_and_a_special_one_is_overwritten(saver: DurableSaver, thread: str) -> None:
    config = await put(saver, at(thread))
    await saver.aput_writes(config, [("c", "first"), ("__error__", "first")], "task")
    await saver.aput_writes(config, [("c", "second"), ("__error__", "second")], "task")

    found = await saver.aget_tuple(config)

    assert {(channel, value) for _, channel, value in found.pending_writes} == {("c", "first"), ("__error__", "second")}


async def test_writes_may_come_before_their_checkpoint(saver: DurableSaver, thread: str) -> None:
    checkpoint = made()
    await saver.aput_writes(at(thread, checkpoint_id=checkpoint["id"]), [("c", 1)], "task")
    assert await saver.aget_tuple(at(thread)) is None

    await saver.aput(at(thread), checkpoint, {}, {})

    assert (await saver.aget_tuple(at(thread))).pending_writes == [("task", "c", 1)]


@pytest.mark.parametrize("name", STRANGE)
async def test_ids_may_hold_any_characters(saver: DurableSaver, thread: str, name: str) -> None:
    name = thread + name
    channel = name.encode("utf-8", "replace").decode()  # LangGraph itself cannot serialize a surrogate
    config = await put(saver, at(name, name), {channel: "value"}, parents={"": name})
    await saver.aput_writes(config, [(name, "write")], name, name)
    await put(saver, at(thread), {"c": "other"})

    found = await saver.aget_tuple(at(name, name))

    assert found.checkpoint["channel_values"] == {channel: "value"}
    assert found.pending_writes == [(name, name, "write")]
    assert found.config == config
    assert await listed(saver, everywhere(name)) == [config["configurable"]["checkpoint_id"]]
    await saver.adelete_thread(name)
    assert await saver.aget_tuple(at(name, name)) is None
    assert await saver.aget_tuple(at(thread)) is not None


async def test_large_values_of_channels_with_strange_names(saver: DurableSaver, thread: str) -> None:
    values = {name: name * 3000 for name in STRANGE if name.isprintable()}
    await put(saver, at(thread), values)

    assert (await saver.aget_tuple(at(thread))).checkpoint["channel_values"] == values


@pytest.mark.parametrize(("one", "other"), [("a", "ab"), ("", "a"), ("a", "")])
async def test_tenants_do_not_meet(saver: DurableSaver, thread: str, one: str, other: str) -> None:
    await put(saver, at(thread, tenant=one), {"c": one})
    await put(saver, at("b" + thread, tenant=one), {"c": one})
    assert await saver.aget_tuple(at(thread, tenant=other)) is None

    await put(saver, at(thread, tenant=other), {"c": other})
    await saver.for_tenant(one).adelete_thread(thread)

    assert await saver.aget_tuple(at(thread, tenant=one)) is None
    assert (await saver.aget_tuple(at(thread, tenant=other))).checkpoint["channel_values"] == {"c": other}


async def test_without_a_config_the_tenants_threads_are_listed(saver: DurableSaver, thread: str) -> None:
    mine = saver.for_tenant(f"tenant of {thread}")
    first = await put(mine, at("one"), step=1)
    second = await put(mine, at("two"), step=2)
    third = await put(mine, at("one", "child"), step=3)
    await put(saver, at(thread))
    ids = [each["configurable"]["checkpoint_id"] for each in (third, second, first)]

    assert await listed(mine, None) == ids
    assert await listed(mine, None, limit=2) == ids[:2]
    assert await listed(mine, None, before=second) == ids[2:]
    assert await listed(mine, None, filter={"step": 2}) == ids[1:2]
    await mine.adelete_thread("one")
    assert await listed(mine, None) == ids[1:2]


async def test_a_list_merges_namespaces_and_pages(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=None) as saver:
        ids = []
        for step in range(70):
            config = await put(saver, at(thread, f"space-{step % 3}"), step=step, even=step % 2 == 0)
            ids.append(config["configurable"]["checkpoint_id"])

        assert await listed(saver, everywhere(thread)) == ids[::-1]
        whole = everywhere(thread)
        assert await listed(saver, whole, filter={"even": True}) == ids[68::-2]
        assert await listed(saver, whole, filter={"absent": None}, limit=3) == ids[:-4:-1]
        assert await listed(saver, at(thread, "space-1"), limit=2) == [ids[67], ids[64]]
        assert await listed(saver, whole, limit=0) == []


async def test_many_tasks_on_one_thread(saver: DurableSaver, thread: str) -> None:
    async def turn(number: int) -> None:
        config = await put(saver, at(thread, f"space-{number}"), {"c": "x" * 3000, "n": number})
        await saver.aput_writes(config, [("c", number)], f"task-{number}")

    await asyncio.gather(*(turn(number) for number in range(32)))

    found = [each async for each in saver.alist(everywhere(thread))]
    assert sorted(each.checkpoint["channel_values"]["n"] for each in found) == list(range(32))
    assert all(each.pending_writes[0][2] == each.checkpoint["channel_values"]["n"] for each in found)


async def test_many_tasks_on_one_namespace_keep_the_newest(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=4) as saver:
        await asyncio.gather(*(put(saver, at(thread), {"c": "x" * 3000, "n": number}) for number in range(32)))

        found = [each async for each in saver.alist(at(thread))]
        assert 4 <= len(found) <= 6
        assert all(each.checkpoint["channel_values"]["c"] == "x" * 3000 for each in found)


async def test_many_tasks_on_many_threads(saver: DurableSaver, thread: str) -> None:
    ids = await asyncio.gather(*(chain(saver, f"{thread}-{number}", 5) for number in range(32)))

    for number, chained in enumerate(ids):
        assert await listed(saver, at(f"{thread}-{number}")) == chained[::-1]


# Trimming.


async def test_a_namespace_keeps_its_newest(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=4) as saver:
        ids = await chain(saver, thread, 20)

        left = await listed(saver, at(thread))
        assert left == ids[: -len(left) - 1 : -1]
        assert 4 <= len(left) <= 6
        oldest = await saver.aget_tuple(at(thread, checkpoint_id=left[-1]))
        assert oldest.parent_config is None


async def test_writes_and_large_values_go_with_their_checkpoints(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=1) as saver:
        config = at(thread)
        for number in range(10):
            version = f"{number:08x}.a"
            checkpoint = made({"big": str(number) * 5000}, version)
            config = await saver.aput(config, checkpoint, {}, {"big": version})
            await saver.aput_writes(config, [("c", number)], "task")

        kinds = sorted(value.kind for value in await store.raw(saver, thread))
        assert kinds == ["checkpoint", "large", "write"]
        assert (await saver.aget_tuple(at(thread))).checkpoint["channel_values"] == {"big": "9" * 5000}


async def test_calls_go_with_their_root_and_persistent_namespaces_stay(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=1) as saver:
        config = at(thread)
        for number in range(3):
            config = await put(saver, config, step=number)
            root = {"": config["configurable"]["checkpoint_id"]}
            await put(saver, at(thread, f"call:{number}"), parents=root)
            await put(saver, at(thread, f"call:{number}|inner:{number}"), parents=root)
        kept = await put(saver, at(thread, "kept"), parents={"": "long ago"})

        spaces = {each.config["configurable"]["checkpoint_ns"] async for each in saver.alist(everywhere(thread))}
        assert spaces == {"", "call:2", "call:2|inner:2", "kept"}
        assert await listed(saver, at(thread, "kept")) == [kept["configurable"]["checkpoint_id"]]


async def test_what_delta_channels_need_is_not_trimmed(store: Store, thread: str) -> None:
    async with store.open(max_checkpoints_per_thread=2) as saver:
        ids = await chain(saver, thread, 8, counters_since_delta_snapshot={"log": [1, 1]})
        assert await listed(saver, at(thread)) == ids[::-1]

        await saver.aprune([thread])
        assert await listed(saver, at(thread)) == ids[::-1]


async def test_pruning_knows_two_strategies(saver: DurableSaver, thread: str) -> None:
    with pytest.raises(InputError, match="keep_latest.*delete"):
        await saver.aprune([thread], strategy="keep_all")


async def test_pruning_leaves_the_newest_of_each_namespace(saver: DurableSaver, thread: str) -> None:
    ids = await chain(saver, thread, 3)
    inner = await chain(saver, thread, 3, "inner")
    call = await chain(saver, thread, 1, "call:1", parents={"": ids[0]})

    await saver.aprune([thread])

    assert await listed(saver, everywhere(thread)) == [inner[-1], ids[-1]]
    assert call[0] not in await listed(saver, at(thread, "call:1"))


# Values.


async def test_an_unchanged_large_value_is_stored_once(store: Store, thread: str) -> None:
    async with store.open(enable_compression=False) as saver:
        config, values = at(thread), {"big": "x" * 100_000, "step": 0}
        for step in range(5):
            checkpoint = made({**values, "step": step})
            new = checkpoint["channel_versions"] if step == 0 else {"step": "00000002.b"}
            config = await saver.aput(config, checkpoint, {}, new)

        sizes = [len(value.payload) for value in await store.raw(saver, thread)]
        assert 100_000 < sum(sizes) < 110_000
        assert (await saver.aget_tuple(at(thread))).checkpoint["channel_values"] == {**values, "step": 4}


async def test_a_large_value_that_another_process_deleted_is_stored_again(store: Store, thread: str) -> None:
    async with store.open() as saver, store.open() as other:
        checkpoint = made({"big": "x" * 5000})
        await saver.aput(at(thread), checkpoint, {}, checkpoint["channel_versions"])
        await other.adelete_thread(thread)

        again = made({"big": "x" * 5000})
        await saver.aput(at(thread), again, {}, {})

        assert (await saver.aget_tuple(at(thread))).checkpoint["channel_values"] == {"big": "x" * 5000}


async def test_forks_with_versions_of_equal_number_do_not_mix(saver: DurableSaver, thread: str) -> None:
    root = await put(saver, at(thread))
    branches = []
    for value in ("left", "right"):
        version = saver.get_next_version("00000001.a", None)
        checkpoint = made({"big": value * 1000}, version)
        branches.append(await saver.aput(root, checkpoint, {}, {"big": version}))

    found = [(await saver.aget_tuple(branch)).checkpoint["channel_values"]["big"] for branch in branches]
    assert found == ["left" * 1000, "right" * 1000]


async def test_the_same_checkpoint_again_replaces_it(store: Store, saver: DurableSaver, thread: str) -> None:
    checkpoint = made({"big": "x" * 5000})
    config = await saver.aput(at(thread), checkpoint, {"step": 1}, checkpoint["channel_versions"])
    await saver.aput_writes(config, [("c", 1)], "task")
    checkpoint["channel_values"] = {"small": 1}
    await saver.aput(at(thread), checkpoint, {"step": 2}, {})

    found = await saver.aget_tuple(at(thread))

    assert found.metadata["step"] == 2
    assert found.checkpoint["channel_values"] == {"small": 1}
    assert [value.kind for value in await store.raw(saver, thread)] == ["checkpoint", "write"]


async def test_a_copy_has_the_whole_chain_and_is_a_thread_of_its_own(store: Store, variant: dict[str, Any]) -> None:
    source, target = f"source-{uuid.uuid4()}", f"target-{uuid.uuid4()}"
    async with store.open(**variant) as saver:
        config = at(source)
        for step in range(4):
            config = await put(saver, config, {"big": "x" * 5000, "step": step}, step=step)
            await saver.aput_writes(config, [("c", step)], "task")
        await saver.acopy_thread(source, target)
        await saver.adelete_thread(source)

        found = [each async for each in saver.alist(at(target))]
        assert [each.checkpoint["channel_values"]["step"] for each in found] == [3, 2, 1, 0]
        assert [each.pending_writes[0][2] for each in found] == [3, 2, 1, 0]
        assert [bool(each.parent_config) for each in found] == [True, True, True, False]


async def test_history_of_delta_channels_follows_the_branch(saver: DurableSaver, thread: str) -> None:
    root = await put(saver, at(thread), {"log": ["seed"]})
    await saver.aput_writes(root, [("log", "b"), ("other", 0)], "task-1", "path 2")
    await saver.aput_writes(root, [("log", "a")], "task-2", "path 1")
    counters = {"counters_since_delta_snapshot": {"log": [1, 1]}}
    middle = await put(saver, root, **counters)
    await saver.aput_writes(middle, [("log", "c")], "task-3")
    await put(saver, root, **counters)  # a fork beside it
    head = await put(saver, middle, **counters)
    await saver.aput_writes(head, [("log", "pending")], "task-4")

    history = await saver.aget_delta_channel_history(config=head, channels=["log", "none"])

    assert history["log"]["seed"] == ["seed"]
    assert [value for _, _, value in history["log"]["writes"]] == ["a", "b", "c"]
    assert history["none"] == {"writes": []}


# Time, threads, fences.


async def test_a_thread_ends_after_its_last_use(store: Store, thread: str) -> None:
    async with store.open(ttl_seconds=1.5) as saver:
        await put(saver, at(thread), {"c": 1})
        for _ in range(4):
            await asyncio.sleep(0.5)
            assert await saver.aget_tuple(at(thread)) is not None
        await asyncio.sleep(1.9)

        assert await saver.aget_tuple(at(thread)) is None
        assert await listed(saver, at(thread)) == []


async def test_the_sync_methods_work_from_another_thread(saver: DurableSaver, thread: str) -> None:
    def work() -> list[str]:
        checkpoint = made({"c": 1})
        config = saver.put(at(thread), checkpoint, {}, {"c": "00000001.a"})
        saver.put_writes(config, [("c", 2)], "task")
        assert saver.get_tuple(at(thread)).pending_writes == [("task", "c", 2)]
        found = [each.checkpoint["id"] for each in saver.list(at(thread), limit=1)]
        assert saver.get_delta_channel_history(config=config, channels=["c"]) == {"c": {"writes": []}}
        saver.copy_thread(thread, thread + "-copy")
        saver.prune([thread])
        saver.delete_for_runs(["no such run"])
        saver.delete_thread(thread)
        return found

    assert len(await asyncio.to_thread(work)) == 1
    assert await saver.aget_tuple(at(thread)) is None
    assert await saver.aget_tuple(at(thread + "-copy")) is not None


async def test_the_sync_methods_refuse_their_own_loop(saver: DurableSaver, thread: str) -> None:
    with pytest.raises(asyncio.InvalidStateError, match="ainvoke"):
        saver.get_tuple(at(thread))


async def test_nothing_is_written_under_an_old_fence(store: Store, saver: DurableSaver, thread: str) -> None:
    leases = store.leases(saver)
    old = await leases.take("", thread, ttl_s=0.05)
    config = await put(saver, at(thread, __fence=old))
    await asyncio.sleep(0.1)
    new = await leases.take("", thread, ttl_s=5)
    before = await store.raw(saver, thread)

    with pytest.raises(ThreadTaken):
        await put(saver, at(thread, __fence=old), {"c": 1})
    with pytest.raises(ThreadTaken):
        await saver.aput_writes(
            at(thread, checkpoint_id=config["configurable"]["checkpoint_id"], __fence=old), [("c", 1)], "task"
        )

    assert await store.raw(saver, thread) == before
    await put(saver, at(thread, __fence=new))


async def test_runs_are_deleted_in_their_tenant_only(saver: DurableSaver, thread: str) -> None:
    run = f"run of {thread}"
    for tenant in ("a", "b"):
        await put(saver, at(thread, tenant=tenant), run_id=run)
        await put(saver, at(thread, tenant=tenant), run_id="another")

    await saver.for_tenant("a").adelete_for_runs([run])

    assert len(await listed(saver.for_tenant("a"), at(thread))) == 1
    assert len(await listed(saver.for_tenant("b"), at(thread))) == 2


async def test_a_copy_onto_a_thread_that_is_there_is_refused(store: Store, thread: str) -> None:
    async with store.open() as saver:
        for name in (thread, f"{thread}-2"):
            await put(saver, at(name), {"c": name})
        with pytest.raises(Conflict, match="delete it first"):
            await saver.acopy_thread(thread, f"{thread}-2")
        found = await saver.aget_tuple(at(f"{thread}-2"))
        assert found.checkpoint["channel_values"] == {"c": f"{thread}-2"}
