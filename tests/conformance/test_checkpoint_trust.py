"""Rows that somebody else wrote or moved: nothing in them is executed, and with keys nothing of them is believed."""

import os
import uuid
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
import zstandard
from langgraph.checkpoint.serde.jsonplus import _msgpack_enc

from ragents.agents.checkpointing.base import DurableSaver
from ragents.agents.checkpointing.codec import MAX_BYTES
from ragents.errors import CheckpointRefused
from tests.conformance.test_checkpoint_savers import at, chain, made, put
from tests.savers import KEY, OTHER_KEY, Store

MSGPACK = bytes([3])
ENCRYPTED = {"encryption_keys": [KEY]}


@pytest.fixture
def thread() -> str:
    return str(uuid.uuid4())


async def filled(saver: DurableSaver, thread: str, **where: Any) -> Any:
    """A thread with a value of each kind."""
    config = await put(saver, at(thread, **where), {"big": "x" * 5000, "small": 1})
    await saver.aput_writes(config, [("c", "write")], "task")
    return config


@pytest.mark.parametrize("code", range(8))
@pytest.mark.parametrize("kind", ["checkpoint", "write", "large"])
async def test_a_forged_row_executes_nothing(
    store: Store, saver: DurableSaver, thread: str, tmp_path: Path, code: int, kind: str
) -> None:
    touched = tmp_path / "touched"
    call = ("os", "system", f"touch {touched}", "system")
    arguments: Any = {1: [call[2]], 2: {"command": call[2]}}.get(code, call[2])
    forged = ormsgpack.packb(ormsgpack.Ext(code, _msgpack_enc((call[0], call[1], arguments, call[3]))))
    await filled(saver, thread)
    for value in await store.raw(saver, thread):
        if value.kind == kind:
            await store.overwrite(saver, value, MSGPACK + forged)

    try:
        await saver.aget_tuple(at(thread))
    except Exception as error:
        assert not isinstance(error, OSError), error

    assert not touched.exists()
    assert os.path.exists(tmp_path)


@pytest.mark.parametrize("kind", ["checkpoint", "write", "large"])
@pytest.mark.parametrize(
    "payload", [b"", b"\xff", bytes([3]) + b"plain", bytes([0b1_0000]), bytes([0b1_0011]) + b"x" * 40]
)
async def test_a_row_that_is_not_ours_is_refused(store: Store, thread: str, kind: str, payload: bytes) -> None:
    async with store.open(**ENCRYPTED) as saver:
        await filled(saver, thread)
        for value in await store.raw(saver, thread):
            if value.kind == kind:
                await store.overwrite(saver, value, payload)

        with pytest.raises(CheckpointRefused):
            await saver.aget_tuple(at(thread))


@pytest.mark.parametrize("kind", ["checkpoint", "write", "large"])
@pytest.mark.parametrize("elsewhere", ["thread", "tenant", "namespace"])
async def test_an_encrypted_row_from_elsewhere_is_refused(store: Store, thread: str, kind: str, elsewhere: str) -> None:
    async with store.open(**ENCRYPTED) as saver:
        other, tenant = (thread + "-other", "") if elsewhere == "thread" else (thread, "b" * (elsewhere == "tenant"))
        await filled(saver, other, tenant=tenant, namespace="space" if elsewhere == "namespace" else "")
        source = {value.kind: value.payload for value in await store.raw(saver, other, tenant)}
        await filled(saver, thread)
        moved = 0
        for value in await store.raw(saver, thread):
            if value.kind == kind and value.payload != source[kind]:
                await store.overwrite(saver, value, source[kind])
                moved += 1

        assert moved
        with pytest.raises(CheckpointRefused):
            await saver.aget_tuple(at(thread))


async def test_an_encrypted_row_of_another_checkpoint_is_refused(store: Store, thread: str) -> None:
    async with store.open(**ENCRYPTED) as saver:
        await chain(saver, thread, 2)
        old, new = await store.raw(saver, thread)
        await store.overwrite(saver, new, old.payload)

        with pytest.raises(CheckpointRefused):
            await saver.aget_tuple(at(thread))


async def test_a_compressed_bomb_is_refused(store: Store, saver: DurableSaver, thread: str) -> None:
    await filled(saver, thread)
    bomb = zstandard.ZstdCompressor().compress(bytes(MAX_BYTES + 1))
    for value in await store.raw(saver, thread):
        if value.kind == "write":
            await store.overwrite(saver, value, bytes([0b1011]) + bomb)

    with pytest.raises(CheckpointRefused):
        await saver.aget_tuple(at(thread))


async def test_nothing_readable_is_stored_when_encrypted(store: Store, thread: str) -> None:
    async with store.open(**ENCRYPTED, enable_compression=False) as saver:
        checkpoint = made({"small": "secret", "big": "secret " * 1000})
        config = await saver.aput(at(thread), checkpoint, {}, checkpoint["channel_versions"])
        await saver.aput_writes(config, [("c", "secret")], "task")

        values = await store.raw(saver, thread)
        assert {value.kind for value in values} == {"checkpoint", "write", "large"}
        assert not [value for value in values if b"secret" in value.payload]


async def test_keys_are_rotated(store: Store, thread: str) -> None:
    async with store.open(encryption_keys=[OTHER_KEY]) as old:
        await filled(old, thread)
    async with store.open(encryption_keys=[KEY, OTHER_KEY]) as both:
        assert (await both.aget_tuple(at(thread))).checkpoint["channel_values"]["small"] == 1
    async with store.open(**ENCRYPTED) as new:
        with pytest.raises(CheckpointRefused, match="encryption_keys"):
            await new.aget_tuple(at(thread))


async def test_an_allowlist_makes_another_saver(saver: DurableSaver, thread: str) -> None:
    await put(saver, at(thread), {"c": 1})

    allowing = saver.with_allowlist([("tests.savers", "RawValue")])

    assert allowing is not saver
    assert (await allowing.aget_tuple(at(thread))).checkpoint["channel_values"] == {"c": 1}
