"""Batching at the encoder: 1, 8 and 64 clients that ask one question after the other, alone and beside a bulk ingest.

Three ways to run the same model (all-MiniLM-L6-v2, onnxruntime): every text by itself, the batcher in the process, and
the encoder service that workers share, here over TCP. Questions have 3 to 18 words, chunks 20 to 220. Each round asks
every way in turn. The bulk table compares the documents' lane with batches of other shapes, by CPU time.
"""

import asyncio
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.start import START_TIMEOUT_S
from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings import Embedder, EmbeddingConfig, EncodedBatch, EncoderService, open_embedder
from ragents.embeddings.local import LocalEmbedder, Tokenized, split_into_batches
from ragents.embeddings.onnx import OnnxEncoder
from tests.ports import free_port
from tests.processes import wait_until_ready

ROUNDS = 3
CLIENTS = (1, 8, 64)
QUESTIONS = {1: 100, 8: 240, 64: 384}
BULK_TEXTS = 256
"""As many as an ingest hands over at once."""
SHAPED_TEXTS = 160
SHAPES: dict[str, tuple[int, bool]] = {
    "one by one": (1, True),
    "8, sorted": (8, True),
    "32, sorted": (32, True),
    "8, as they come": (8, False),
    "32, as they come": (32, False),
}
"""Texts in a batch, and whether they are sorted by length."""
TOKEN_SHAPES = (250, 500, 1_000, 2_000)
SERVICE = """
from ragents.deployment.encoder_service import create_encoder_service
from ragents.deployment.serving import ServingConfig

encoder = create_encoder_service(ServingConfig(), max_queue=1000)
"""
Row = dict[str, object]


class OneByOne(OnnxEncoder):
    """A budget that any second text exceeds."""

    batch_tokens = 1


@dataclass(slots=True)
class Way:
    """One way to run the model. `cpu_s` is that of all its processes, clients included."""

    name: str
    embedder: Embedder
    batches: list[EncodedBatch]
    process: psutil.Process | None = None
    found: dict[tuple[int, bool], list[Row]] = field(default_factory=dict)

    def cpu_s(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        total = used.ru_utime + used.ru_stime
        for each in () if self.process is None else (self.process, *self.process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
        return total


def run() -> list[Row]:
    return asyncio.run(measure())


async def measure() -> list[Row]:
    words = re.findall(r"[a-z]{2,12}", " ".join(p.read_text() for p in Path("docs").glob("*.md")).lower())
    chance = random.Random(7)
    questions = [" ".join(chance.choices(words, k=chance.randint(3, 18))) for _ in range(max(QUESTIONS.values()))]
    chunks = [" ".join(chance.choices(words, k=chance.randint(20, 220))) for _ in range(SHAPED_TEXTS)]
    encoder = OnnxEncoder.load(EmbeddingConfig(), model=DEFAULT_EMBEDDING_MODEL)
    chunks = [text for text in chunks if len(encoder.tokenize([text], "document")[0].ids) <= encoder.max_tokens]
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(way) for way in (one_by_one(), in_process(), service())]
        for _ in range(ROUNDS):
            for beside in (False, True):
                for clients in CLIENTS:
                    for way in ways:
                        row = await ask(way, questions[: QUESTIONS[clients]], clients, chunks if beside else None)
                        way.found.setdefault((clients, beside), []).append(row)
        rows = [middle(way, key) for key in ways[0].found for way in ways]
        rows += await bulk(encoder, chunks, ways)
    report(rows)
    return rows


@asynccontextmanager
async def one_by_one() -> AsyncIterator[Way]:
    batches: list[EncodedBatch] = []
    made = LocalEmbedder(
        DEFAULT_EMBEDDING_MODEL,
        lambda: OneByOne.load(EmbeddingConfig(), model=DEFAULT_EMBEDDING_MODEL),
        observe=batches.append,
    )
    async with made as embedder:
        yield Way("one by one", embedder, batches)


@asynccontextmanager
async def in_process() -> AsyncIterator[Way]:
    batches: list[EncodedBatch] = []
    async with open_embedder(EmbeddingConfig(), observe=batches.append) as embedder:
        yield Way("in the process", embedder, batches)


@asynccontextmanager
async def service() -> AsyncIterator[Way]:
    batches: list[EncodedBatch] = []
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        (Path(directory) / "service.py").write_text(SERVICE)
        port = free_port()
        paths = {"PYTHONPATH": str(Path.cwd()), "BENTOML_HOME": directory, "BENTOML_DO_NOT_TRACK": "true"}
        server = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "service:encoder", "--port", str(port)],
            cwd=directory,
            env=os.environ | paths,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}/readyz", START_TIMEOUT_S)
            there = EncoderService(f"tcp://127.0.0.1:{port}", timeout_s=60)
            async with open_embedder(EmbeddingConfig(), observe=batches.append, service=there) as embedder:
                yield Way("service", embedder, batches, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait(30)


async def ask(way: Way, questions: Sequence[str], clients: int, chunks: Sequence[str] | None) -> Row:
    """Every client asks its next question when the last is answered; beside them an ingest, where there are chunks."""
    waiting = iter(questions)
    times: list[float] = []

    async def client() -> None:
        for text in waiting:
            started = time.perf_counter()
            await way.embedder.embed_query(text)
            times.append((time.perf_counter() - started) * 1000)

    async def ingest(texts: Sequence[str]) -> None:
        while True:
            for start in range(0, len(texts), BULK_TEXTS):
                await way.embedder.embed_documents(texts[start : start + BULK_TEXTS])

    bulk_load = None if chunks is None else asyncio.create_task(ingest(chunks))
    if bulk_load is not None:
        await asyncio.sleep(0.3)  # it is under way
    way.batches.clear()
    cpu_s, started = way.cpu_s(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    row: Row = {
        "per_s": len(questions) / seconds,
        "p50_ms": statistics.median(times),
        "p95_ms": sorted(times)[int(len(times) * 0.95)],
        "cpu_ms": (way.cpu_s() - cpu_s) / len(questions) * 1000,
        "batch": statistics.mean(batch.texts for batch in way.batches if batch.kind == "query"),
        "bulk_per_s": sum(batch.texts for batch in way.batches if batch.kind == "document") / seconds,
    }
    if bulk_load is not None:
        bulk_load.cancel()
        with suppress(asyncio.CancelledError):
            await bulk_load
    return row


def middle(way: Way, key: tuple[int, bool]) -> Row:
    found = way.found[key]
    row = {name: round(statistics.median(float(str(each[name])) for each in found), 2) for name in found[0]}
    return {"name": way.name, "operation": "ask", "clients": key[0], "beside_bulk": key[1], **row}


async def bulk(encoder: OnnxEncoder, chunks: Sequence[str], ways: Sequence[Way]) -> list[Row]:
    """Texts per CPU second, medians of interleaved rounds."""
    tokenized = encoder.tokenize(chunks, "document")
    spent: dict[str, list[float]] = {}

    def encode(batches: Sequence[Sequence[Tokenized]]) -> float:
        before = time.process_time()
        encoder.tokenize(chunks, "document")  # which ours does as well
        for batch in batches:
            encoder.encode(batch, "document")
        return time.process_time() - before

    for _ in range(ROUNDS):
        for name, (size, ordered) in SHAPES.items():
            texts = sorted(tokenized, key=lambda each: len(each.ids)) if ordered else tokenized
            batches = [texts[n : n + size] for n in range(0, len(texts), size)]
            spent.setdefault(name, []).append(await asyncio.to_thread(encode, batches))
        for budget in TOKEN_SHAPES:
            lengths = [len(each.ids) for each in tokenized]
            cut = [[tokenized[n] for n in batch] for batch in split_into_batches(lengths, batch_tokens=budget)]
            spent.setdefault(f"{budget} tokens, sorted", []).append(await asyncio.to_thread(encode, cut))
        for way in ways:
            before = way.cpu_s()
            for start in range(0, len(chunks), BULK_TEXTS):
                await way.embedder.embed_documents(chunks[start : start + BULK_TEXTS])
            spent.setdefault(f"ours: {way.name}", []).append(way.cpu_s() - before)
    return [
        {"name": name, "operation": "bulk", "texts_per_cpu_s": round(len(chunks) / statistics.median(seconds), 1)}
        for name, seconds in spent.items()
    ]


def report(rows: list[Row]) -> None:
    print(f"{'':16}{'clients':>8}{'bulk':>6}{'q/s':>8}{'p50 ms':>8}{'p95 ms':>8}{'CPU ms':>8}{'batch':>7}{'bulk/s':>8}")
    asked = [row for row in rows if row["operation"] == "ask"]
    for row in asked:
        print(
            f"{row['name']:16}{row['clients']:>8}{'yes' if row['beside_bulk'] else 'no':>6}{row['per_s']:>8}"
            f"{row['p50_ms']:>8}{row['p95_ms']:>8}{row['cpu_ms']:>8}{row['batch']:>7}{row['bulk_per_s']:>8}"
        )
    found = {(row["name"], row["clients"], row["beside_bulk"]): row for row in asked}

    def ratio(value: str, one: tuple[object, ...], other: tuple[object, ...]) -> str:
        return f"{float(str(found[one][value])) / float(str(found[other][value])):.2f}"

    print()
    for name in dict.fromkeys(str(row["name"]) for row in asked):
        times = ", ".join(ratio("p95_ms", (name, n, True), (name, n, False)) for n in CLIENTS)
        more = ratio("per_s", (name, 64, False), ("one by one", 64, False))
        print(f"{name}: p95 beside a bulk {times} x alone (1, 8, 64 clients); at 64 clients {more} x one by one")
    print()
    for row in rows:
        if row["operation"] == "bulk":
            print(f"{row['name']:24}{row['texts_per_cpu_s']:>8} texts per CPU second")
