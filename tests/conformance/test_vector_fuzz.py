"""Whatever is asked and whatever is filtered by: an answer or an InputError, in bounded time."""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragents.errors import InputError
from ragents.principal import Principal
from ragents.rag.store import SearchQuery, VectorStore
from ragents.rag.types import Chunk, Document
from tests.stores import LANGCHAIN, open_backend

LIMIT_S = 20.0
OWNER = Principal(tenant=f"fuzz {uuid.uuid4()}")
FUZZ = settings(max_examples=80)
NASTY = [
    "'",
    '"',
    "\\",
    "\0",
    "\ud800",
    "&",
    "|",
    "!",
    "<->",
    ":*",
    "(",
    ")",
    "%s",
    "$1",
    "{0}",
    ";",
    "--",
    "/*",
    "\u202e",
]

texts = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(), max_size=40),  # lone surrogates too
    st.lists(st.sampled_from([*NASTY, "lion", "🙂", "זברה", "斑马", " "]), max_size=20).map("".join),
)
scalars = st.one_of(texts, st.integers(), st.floats(), st.booleans())
conditions = st.one_of(
    scalars,
    st.none(),
    st.lists(scalars, max_size=3),
    st.dictionaries(
        st.sampled_from(["in", "ne", "gt", "gte", "lt", "lte", "exists", "like", ""]),
        st.one_of(scalars, st.none(), st.lists(scalars, max_size=5)),
        max_size=3,
    ),
)


@pytest.fixture(scope="module", params=["memory", "postgres", *LANGCHAIN])
async def store(request: pytest.FixtureRequest, migrated: str, postgres: str) -> AsyncIterator[VectorStore]:
    async with open_backend(request.param, dsn=migrated, migrate_dsn=postgres) as opened:
        for number, text in enumerate(["zebra lion", "lion 🙂 it's", "נמר arabic نص 斑马"]):
            await opened.upsert(
                Document(f"{number}", "t", "md", "h", metadata={"k": text, "n": number, "b": number == 1}),
                [Chunk(0, text, 0, 1)],
                np.eye(3, dtype=np.float32)[number : number + 1],
                principal=OWNER,
                collection="c",
                embedding_model="m",
            )
        yield opened


async def ask(store: VectorStore, text: str, **fields: Any) -> int:
    async with asyncio.timeout(LIMIT_S):
        query = SearchQuery(text, np.ones(3, np.float32) / 3**0.5, "c", **fields)
        return len(await store.search(query, principal=OWNER))


@FUZZ
@given(text=texts)
@example(text="word " * 10_000)
@example(text=" ".join(f"word{n}" for n in range(10_000)))
@example(text="x" * 1_000_000)
@example(text="lion & zebra | !(tiger:*) <-> 'a''b' \\ \\' :A %")
@example(text="a" * 3_000 + " lion")
async def test_any_question_gives_results(store: VectorStore, text: str) -> None:
    assert await ask(store, text) == 3
    assert await ask(store, text, mode="lexical") <= 3


@FUZZ
@given(filters=st.dictionaries(st.one_of(texts, st.sampled_from(["k", "n", "b"])), conditions, max_size=4))
@example(filters={f"key {n}": {"in": [f"{n}"] * 1_000} for n in range(32)})
@example(filters={"k": {"in": [f"value {n}" for n in range(999)] + ["zebra lion"]}})
async def test_any_filter_gives_results_or_names_its_mistake(store: VectorStore, filters: dict[str, Any]) -> None:
    for mode in ("hybrid", "lexical"):
        try:
            assert 0 <= await ask(store, "lion", filters=filters, mode=mode) <= 3
        except InputError as error:
            assert str(error.field).startswith("filters")


@FUZZ
@given(uri=texts.filter(bool), title=texts, body=texts, key=texts, value=scalars)
async def test_anything_stored_is_found_by_its_metadata_and_gone_after_its_delete(
    store: VectorStore, uri: str, title: str, body: str, key: str, value: Any
) -> None:
    metadata = {key: value if not isinstance(value, float) or math.isfinite(value) else 0.5}
    principal = Principal(tenant=f"fuzz {uuid.uuid4()}")
    stored = await store.upsert(
        Document(uri, title, "md", "h", metadata=metadata),
        [Chunk(0, body, 0, len(body), headings=(title,))],
        np.eye(3, dtype=np.float32)[:1],
        principal=principal,
        collection="c",
        embedding_model="m",
    )
    query = SearchQuery(body, np.eye(3, dtype=np.float32)[0], "c", filters=metadata)
    try:
        (found,) = await store.search(query, principal=principal)
        assert found.document_id == stored.document_id
    except InputError as error:
        assert str(error.field).startswith("filters")
    await store.delete(stored.document_id, principal=principal)
    assert await store.count(principal=principal) == 0
