"""Token recall and IoU of chunkers on Chroma's chunking evaluation: ours beside LangChain's splitter and chonkie.

For each question the five chunks whose vectors are nearest, of all corpora. Recall is the share of the characters of
the reference excerpts that these chunks hold, IoU those characters over all that the chunks and the excerpts hold
together, a character that two chunks repeat counted twice (Smith and Troynikov 2024). The encoder is the packaged one.

BENCH_DATA names the folder that holds chunking_eval (corpora/*.md, questions_df.csv); default ../shared/data.
"""

import asyncio
import csv
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from ragents.config import RAGConfig
from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings import Embedder, EmbeddingConfig, Vectors, open_embedder
from ragents.embeddings.weights import find_model
from ragents.rag.chunking import create_chunker
from ragents.rag.types import TextBlock

TOP_K = 5
BATCH = 256
Span = tuple[int, int]
Way = Literal["structure", "window", "semantic"]
Chunker = Callable[[str], Iterable[tuple[Span, str]]]
"""A corpus into chunks: where each stands, and the text that is embedded."""


def run() -> list[dict[str, object]]:
    return asyncio.run(measure(Path(os.environ.get("BENCH_DATA", "../shared/data")) / "chunking_eval"))


async def measure(data: Path) -> list[dict[str, object]]:
    if not data.is_dir():
        print(f"{data} is not there; set BENCH_DATA to the folder that holds chunking_eval", file=sys.stderr)
        return []
    csv.field_size_limit(10_000_000)
    corpora = {file.stem: file.read_text("utf-8") for file in sorted((data / "corpora").glob("*.md"))}
    with (data / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        asked = [(row["question"], row["corpus_id"], json.loads(row["references"])) for row in csv.DictReader(file)]
    rows: list[dict[str, object]] = []
    async with open_embedder(EmbeddingConfig()) as embedder:
        questions = np.stack([await embedder.embed_query(question) for question, _, _ in asked])
        for name, chunker in chunkers(embedder):
            chunks = await asyncio.to_thread(
                lambda cut: [(corpus, span, text) for corpus, whole in corpora.items() for span, text in cut(whole)],
                chunker,
            )
            vectors = await embed(embedder, [text for _, _, text in chunks])
            nearest = np.argsort(-(questions @ vectors.T), axis=1)[:, :TOP_K]
            scored = [
                score(
                    [(each["start_index"], each["end_index"]) for each in references],
                    [chunks[n][1] for n in found if chunks[n][0] == corpus],
                    sum(chunks[n][1][1] - chunks[n][1][0] for n in found),
                )
                for (_, corpus, references), found in zip(asked, nearest, strict=True)
            ]
            sizes = [end - start for _, (start, end), _ in chunks]
            row = {
                "chunker": name,
                "chunks": len(chunks),
                "mean_size": round(statistics.fmean(sizes)),
                "recall": round(statistics.fmean(recall for recall, _ in scored), 4),
                "iou": round(statistics.fmean(iou for _, iou in scored), 4),
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def score(references: Sequence[Span], found: Sequence[Span], characters: int) -> tuple[float, float]:
    """Recall and IoU. `characters`: of all chunks that were retrieved, those of other corpora among them."""
    wanted = set[int]().union(*(range(*span) for span in references))
    held = set[int]().union(*(range(*span) for span in found))
    shared = len(wanted & held)
    return shared / len(wanted), shared / (characters + len(wanted) - shared)


async def embed(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    parts = [await embedder.embed_documents(texts[n : n + BATCH]) for n in range(0, len(texts), BATCH)]
    return np.concatenate(parts)


def chunkers(embedder: Embedder) -> list[tuple[str, Chunker]]:
    """Peers that are not installed are left out, and it is said."""
    sizes = ((1000, 200), (1000, 0), (800, 0), (600, 0), (400, 0))
    found = [(f"structure {size}/{overlap}", ours(embedder, "structure", size, overlap)) for size, overlap in sizes]
    found += [(f"window {size}/{overlap}", ours(embedder, "window", size, overlap)) for size, overlap in sizes[::4]]
    found += [(f"semantic {size}", ours(embedder, "semantic", size, 0)) for size in (1000, 600, 400)]
    try:
        found += [
            (f"langchain recursive {size}/{overlap}", langchain(embedder, size, overlap)) for size, overlap in sizes
        ]
    except ImportError:
        print("langchain-text-splitters is not installed and left out", file=sys.stderr)
    try:
        found += [(f"chonkie recursive {tokens} tokens", chonkie(embedder, tokens)) for tokens in (60, 100, 200)]
    except ImportError:
        print("chonkie is not installed and left out", file=sys.stderr)
    return found


def ours(embedder: Embedder, way: Way, size: int, overlap: int) -> Chunker:
    loop = asyncio.get_running_loop()

    def embed(texts: Sequence[str]) -> Vectors:
        return asyncio.run_coroutine_threadsafe(embedder.embed_documents(texts), loop).result()

    config = RAGConfig(chunking=way, chunk_size=size, chunk_overlap=overlap)
    chunker = create_chunker(config, count_tokens=embedder.count_tokens, max_tokens=embedder.max_tokens, embed=embed)
    return lambda text: (((chunk.start, chunk.end), chunk.text) for chunk in chunker.split([TextBlock(text)]))


def langchain(embedder: Embedder, size: int, overlap: int) -> Chunker:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=overlap, add_start_index=True)

    def split(text: str) -> Iterable[tuple[Span, str]]:
        for document in splitter.create_documents([text]):
            start = document.metadata["start_index"]
            yield (start, start + len(document.page_content)), within(embedder, document.page_content)

    return split


def chonkie(embedder: Embedder, tokens: int) -> Chunker:
    from chonkie import RecursiveChunker

    tokenizer = Tokenizer.from_file(str(find_model(DEFAULT_EMBEDDING_MODEL) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    chunker = RecursiveChunker(tokenizer=tokenizer, chunk_size=tokens)

    def split(text: str) -> Iterable[tuple[Span, str]]:
        for chunk in chunker.chunk(text):
            if chunk.text.strip():
                yield (chunk.start_index, chunk.end_index), within(embedder, chunk.text)

    return split


def within(embedder: Embedder, text: str) -> str:
    """What a cutting encoder would see of a peer's chunk; ours refuses longer texts."""
    while embedder.count_tokens([text])[0] > embedder.max_tokens:
        text = text[: len(text) * 9 // 10]
    return text
