"""python encoders.py CANDIDATE FILE: one way to run an encoder, in a process of its own, which prints what it measured.

FILE is JSON: {"model": the model's folder, "graph": its ONNX file, "texts": {name: [...]}, "questions": [...]}. Only
the candidate's own libraries are imported, so that each runs in the environment that has them.
"""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
BATCH_TOKENS, TORCH_BATCH = 500, 8
Work = Callable[[Sequence[str]], Any]


def main(candidate: str, file: str) -> None:
    given = json.loads(Path(file).read_text())
    if candidate in ("ours", "ours int8"):
        asyncio.run(ours(given, "int8" if candidate.endswith("int8") else "fp32"))
        return
    embed = {"onnxruntime": bare, "sentence-transformers": torch}[candidate](given)
    embed(given["questions"][:1])
    begun = start()
    found = {name: timed(lambda part=texts: embed(part), len(texts)) for name, texts in given["texts"].items()}
    times = []
    before = time.process_time()
    for text in given["questions"]:
        since = time.perf_counter()
        embed([text])
        times.append((time.perf_counter() - since) * 1000)
    say(begun, found, times, time.process_time() - before)


async def ours(given: dict[str, Any], precision: Any) -> None:
    from ragents.embeddings import EmbeddingConfig, open_embedder

    async with open_embedder(EmbeddingConfig(precision=precision), model=given["model"]) as embedder:
        await embedder.embed_query(given["questions"][0])
        begun = start()
        found = {}
        for name, texts in given["texts"].items():
            since, before = time.perf_counter(), time.process_time()
            await embedder.embed_documents(texts)
            found[name] = rates(len(texts), time.perf_counter() - since, time.process_time() - before)
        times = []
        before = time.process_time()
        for text in given["questions"]:
            since = time.perf_counter()
            await embedder.embed_query(text)
            times.append((time.perf_counter() - since) * 1000)
        say(begun, found, times, time.process_time() - before)


def bare(given: dict[str, Any]) -> Work:
    """The same graph and batches of the same size in a loop: the floor."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{given['model']}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(given["graph"], options, providers=["CPUExecutionProvider"])

    def embed(texts: Sequence[str]) -> None:
        found = sorted((each.ids for each in tokenizer.encode_batch(list(texts))), key=len, reverse=True)
        while found:
            size = max(1, BATCH_TOKENS // len(found[0]))
            batch, found = found[:size], found[size:]
            ids = np.zeros((len(batch), len(batch[0])), np.int64)
            mask = np.zeros_like(ids)
            for row, each in enumerate(batch):
                ids[row, : len(each)], mask[row, : len(each)] = each, 1
            session.run(None, {"input_ids": ids, "attention_mask": mask})

    return embed


def torch(given: dict[str, Any]) -> Work:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(given["model"], device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=TORCH_BATCH, show_progress_bar=False)


def start() -> dict[str, float]:
    """What it cost to come this far. The interpreter's own start is not in `start_s`; it is in `start_cpu_s`."""
    return {"start_s": time.perf_counter() - STARTED, "start_cpu_s": time.process_time(), "rss_mb": resident_mb()}


def timed(work: Callable[[], Any], texts: int) -> dict[str, float]:
    since, before = time.perf_counter(), time.process_time()
    work()
    return rates(texts, time.perf_counter() - since, time.process_time() - before)


def rates(texts: int, seconds: float, cpu_s: float) -> dict[str, float]:
    return {"per_s": texts / seconds, "cpu_ms": cpu_s / texts * 1000}


def say(begun: dict[str, float], found: dict[str, dict[str, float]], times: list[float], cpu_s: float) -> None:
    row = dict(begun)
    for name, each in found.items():
        row |= {f"{name}_per_s": each["per_s"], f"{name}_cpu_ms": each["cpu_ms"]}
    row |= {"question_p50_ms": statistics.median(times), "question_cpu_ms": cpu_s / len(times) * 1000}
    row["peak_mb"] = peak_mb()
    print(json.dumps(row))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


def peak_mb() -> float:
    """Not getrusage's, which a child inherits from the process that forked it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
