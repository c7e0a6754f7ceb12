"""What comes together is stored together, and yet each caller gets its own answer."""

import asyncio
import uuid
from typing import Any

import pytest

from ragents.agents.checkpointing.base import DurableSaver
from ragents.errors import ThreadTaken
from tests.conformance.test_checkpoint_savers import at, listed, made, put
from tests.savers import Store


@pytest.fixture
def thread() -> str:
    return str(uuid.uuid4())


async def test_an_old_fence_among_many_refuses_its_own_thread_alone(
    store: Store, saver: DurableSaver, thread: str
) -> None:
    leases = store.leases(saver)
    old = await leases.take("", f"{thread}-0", ttl_s=5)
    await leases.release("", f"{thread}-0", fence=old)
    fences = [await leases.take("", f"{thread}-{number}", ttl_s=5) for number in range(20)]
    given = [old, *fences[1:]]

    async def turn(number: int) -> None:
        config = await put(saver, at(f"{thread}-{number}", __fence=given[number]), {"n": number})
        config["configurable"]["__fence"] = given[number]
        await saver.aput_writes(config, [("c", number)], "task")

    results = await asyncio.gather(*(turn(number) for number in range(20)), return_exceptions=True)

    assert isinstance(results[0], ThreadTaken)
    assert results[1:] == [None] * 19
    assert await listed(saver, at(f"{thread}-0")) == []
    for number in range(1, 20):
        found = await saver.aget_tuple(at(f"{thread}-{number}"))
        assert (found.checkpoint["channel_values"], found.pending_writes) == ({"n": number}, [("task", "c", number)])


async def test_a_value_that_is_gone_among_many_is_stored_again(store: Store, thread: str) -> None:
    big = {"big": "x" * 5000}
    async with store.open() as saver, store.open() as other:
        names = [f"{thread}-{number}" for number in range(10)]
        for name in names:
            await put(saver, at(name), big)
        await other.adelete_thread(names[3])

        async def again(name: str) -> None:
            await saver.aput(at(name), made(big), {}, {})

        await asyncio.gather(*map(again, names))

        for name in names:
            assert (await saver.aget_tuple(at(name))).checkpoint["channel_values"] == big


async def test_tenants_that_come_together_do_not_meet(saver: DurableSaver, thread: str) -> None:
    tenants = [f"{thread} {number % 4}" for number in range(16)]

    async def turn(number: int) -> Any:
        config = await put(saver, at(f"{thread}-{number}", tenant=tenants[number]), {"n": number})
        await saver.aput_writes(config, [("c", number)], "task")
        return config

    configs = await asyncio.gather(*(turn(number) for number in range(16)))

    for number, config in enumerate(configs):
        found = await saver.aget_tuple(config)
        assert (found.checkpoint["channel_values"], found.pending_writes) == ({"n": number}, [("task", "c", number)])
        assert await saver.aget_tuple(at(f"{thread}-{number}", tenant=tenants[number - 1])) is None


async def test_the_same_thing_twice_at_once_is_stored_once(saver: DurableSaver, thread: str) -> None:
    checkpoint = made({"big": "x" * 5000, "small": 1})
    config = {**at(thread, checkpoint_id=checkpoint["id"])}
    await asyncio.gather(
        *(saver.aput(at(thread), checkpoint, {}, checkpoint["channel_versions"]) for _ in range(8)),
        *(saver.aput_writes(config, [("a", 1), ("b", 2)], "task") for _ in range(8)),
    )

    found = await saver.aget_tuple(at(thread))
    assert found.checkpoint["channel_values"] == {"big": "x" * 5000, "small": 1}
    assert found.pending_writes == [("task", "a", 1), ("task", "b", 2)]
    assert await listed(saver, at(thread)) == [checkpoint["id"]]


async def test_writes_of_a_task_that_grow_are_all_there(saver: DurableSaver, thread: str) -> None:
    config = await put(saver, at(thread))
    await saver.aput_writes(config, [("a", 1)], "task")
    await saver.aput_writes(config, [("__interrupt__", "old")], "task")
    await saver.aput_writes(config, [("a", "later"), ("b", 2)], "task")
    await saver.aput_writes(config, [("__interrupt__", "new"), ("__error__", "wrong")], "task")

    found = await saver.aget_tuple(config)

    assert [(channel, value) for _, channel, value in found.pending_writes] == [
        ("__interrupt__", "new"),
        ("__error__", "wrong"),
        ("a", 1),
        ("b", 2),
    ]


async def test_a_caller_that_gives_up_leaves_the_others_in_peace(saver: DurableSaver, thread: str) -> None:
    async def turn(number: int) -> None:
        async with asyncio.timeout(0.003 if number % 2 else None):
            config = await put(saver, at(f"{thread}-{number}"), {"n": number})
            await saver.aput_writes(config, [("c", number)], "task")

    results = await asyncio.gather(*(turn(number) for number in range(64)), return_exceptions=True)

    assert [results[number] for number in range(0, 64, 2)] == [None] * 32
    for number in range(0, 64, 2):
        assert (await saver.aget_tuple(at(f"{thread}-{number}"))).pending_writes == [("task", "c", number)]
