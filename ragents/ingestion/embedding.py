"""The second stage: what the encoder sees of a chunk, and which chunks it need not see again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragents.embeddings.types import Embedder, Vectors
from ragents.errors import TextTooLong
from ragents.ingestion.known import KnownVectors, made_alike
from ragents.rag.store.types import StoredChunks
from ragents.rag.types import Chunk, Document

HEAD = 500
"""Characters of a chunk in which its own heading is looked for."""
EMBED_CHUNKS = 256
"""Texts handed to the encoder at once: enough to sort by length, few enough that a question gets its turn."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut into chunks, and those of its version before, where there is one."""

    document: Document
    chunks: list[Chunk]
    before: StoredChunks | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    prepared: Prepared
    vectors: Vectors


def text_to_embed(title: str, chunk: Chunk) -> str:
    """A chunk as the encoder sees it: under its title and headings, which say what a passage from the middle is about.

    Names that the chunk begins with are not repeated.
    """
    path = list(dict.fromkeys(name for name in (title, *chunk.headings) if name))
    begin = chunk.text[:HEAD].lstrip("# ")
    header = " > ".join(name for name in path if not begin.startswith(name))
    return f"{header}\n{chunk.text}" if header else chunk.text


async def embed_together(
    group: Sequence[Prepared], embedder: Embedder, *, made_before: KnownVectors | None = None
) -> list[Embedded | TextTooLong]:
    """The vectors of several documents: small ones share a batch. A document that fails does so alone."""
    try:
        return [*await _embed(group, embedder, made_before)]
    except TextTooLong as error:
        if len(group) == 1:
            return [error]
    return [each for one in group for each in await embed_together([one], embedder, made_before=made_before)]


async def _embed(group: Sequence[Prepared], embedder: Embedder, made_before: KnownVectors | None) -> list[Embedded]:
    texts = [await asyncio.to_thread(texts_to_embed, each.document.title, each.chunks, embedder) for each in group]
    known: dict[str, Vectors] = {}
    for each in group:
        if each.before is not None:
            known |= await _still_true(each.before, {text for some in texts for text in some}, embedder)
    missing = list(dict.fromkeys(text for some in texts for text in some if text not in known))
    if made_before is not None:
        known |= await made_before.find(missing)
        missing = [text for text in missing if text not in known]
    for start in range(0, len(missing), EMBED_CHUNKS):
        part = missing[start : start + EMBED_CHUNKS]
        made = dict(zip(part, await embedder.embed_documents(part), strict=True))
        known |= made
        if made_before is not None:
            await made_before.keep(made)
    empty = np.zeros((0, embedder.dimension), np.float32)
    return [
        Embedded(each, np.stack([known[text] for text in some]) if some else empty)
        for each, some in zip(group, texts, strict=True)
    ]


async def _still_true(before: StoredChunks, wanted: set[str], embedder: Embedder) -> dict[str, Vectors]:
    """Vectors of the version before whose texts come again.

    One of them is computed anew: if it is not what is stored, the texts or the weights were others then, and none is
    taken.
    """
    texts = await asyncio.to_thread(texts_to_embed, before.title, before.chunks, embedder)
    again = {text: vector for text, vector in zip(texts, before.vectors, strict=True) if text in wanted}
    return again if await made_alike(again, embedder) else {}


def texts_to_embed(title: str, chunks: Sequence[Chunk], embedder: Embedder) -> list[str]:
    """Under the title where the encoder has room for it."""
    titled = [text_to_embed(title, chunk) for chunk in chunks]
    counts = embedder.count_tokens(titled)
    return [
        text if tokens <= embedder.max_tokens else chunk.text
        for text, tokens, chunk in zip(titled, counts, chunks, strict=True)
    ]
