"""The encoder beside its floor and its peers: chunks of about 128 and 200 tokens, questions of about 12; int8 as well.

Every candidate is a process of its own, and every round runs each in turn. The floor is a bare loop over onnxruntime
with the same graph and batches. BENCH_TORCH names a Python that has sentence-transformers (else it is left out); so
does BENCH_INFINITY for infinity-emb, which is asked over HTTP. BENCH_DATA names the folder that holds scifact, for the
nDCG of both precisions; default ../shared/data.
"""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.infinity import measure_infinity
from ragents.config.rag_config import DEFAULT_EMBEDDING_MODEL
from ragents.embeddings import EmbeddingConfig
from ragents.embeddings.onnx import OnnxEncoder, find_graph
from ragents.embeddings.weights import find_model

ROUNDS = 3
CHUNKS, QUESTIONS = 64, 100
TIMEOUT_S, EVAL_TIMEOUT_S = 300, 3600
Row = dict[str, object]


def run() -> list[Row]:
    model = find_model(DEFAULT_EMBEDDING_MODEL)
    encoder = OnnxEncoder.load(EmbeddingConfig(), model=DEFAULT_EMBEDDING_MODEL)
    OnnxEncoder.load(EmbeddingConfig(precision="int8"), model=DEFAULT_EMBEDDING_MODEL)  # both graphs are made
    given = {
        "model": str(model),
        "graph": str(find_graph(DEFAULT_EMBEDDING_MODEL, model, "mean")),
        "texts": {f"c{tokens}": texts_of(encoder, tokens, CHUNKS) for tokens in (128, 200)},
        "questions": texts_of(encoder, 12, QUESTIONS),
    }
    candidates = {"ours": sys.executable, "onnxruntime": sys.executable, "ours int8": sys.executable}
    if python := os.environ.get("BENCH_TORCH"):
        candidates["sentence-transformers"] = python
    if python := os.environ.get("BENCH_INFINITY"):
        candidates["infinity-emb"] = python
    found: dict[str, list[dict[str, float]]] = {name: [] for name in candidates}
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        file = Path(directory) / "given.json"
        file.write_text(json.dumps(given))
        for _ in range(ROUNDS):
            for name, python in candidates.items():
                if name == "infinity-emb":
                    found[name].append(measure_infinity(python, given))
                else:
                    found[name].append(measure(python, name, file))
    rows: list[Row] = [
        {"name": name, **{key: round(statistics.median(each[key] for each in rounds), 2) for key in rounds[0]}}
        for name, rounds in found.items()
    ]
    report(rows)
    return rows + quality()


def texts_of(encoder: OnnxEncoder, tokens: int, count: int) -> list[str]:
    """English words, 0.9 to 1.1 times as many tokens."""
    words = re.findall(r"[a-z]{2,12}", " ".join(p.read_text() for p in Path("docs").glob("*.md")).lower())
    chance, texts = random.Random(tokens), []
    while len(texts) < count:
        picked = chance.choices(words, k=tokens)
        wanted = chance.uniform(0.9, 1.1) * tokens
        while len(encoder.tokenize([" ".join(picked)], "document")[0].ids) > wanted:
            picked.pop()
        texts.append(" ".join(picked))
    return texts


def measure(python: str, name: str, file: Path) -> dict[str, float]:
    command = [python, str(Path(__file__).with_name("encoders.py")), name, str(file)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def quality() -> list[Row]:
    """nDCG@10 on SciFact (test), dense and hybrid, with vectors of either precision."""
    data = Path(os.environ.get("BENCH_DATA", "../shared/data")).resolve() / "scifact"
    if not data.is_dir():
        print(f"{data} is not there; set BENCH_DATA to the folder that holds it", file=sys.stderr)
        return []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        Path(directory).chmod(0o755)
        for precision in ("fp32", "int8"):
            command = [sys.executable, "-c", "from ragents.cli import main; main()", "eval", str(data), "--json"]
            more = {"RAGENTS_HOME": f"{directory}/{precision}", "RAGENTS_EMBEDDINGS__PRECISION": precision}
            done = subprocess.run(
                command, env=os.environ | more, capture_output=True, text=True, timeout=EVAL_TIMEOUT_S, check=True
            )
            for mode, scores in json.loads(done.stdout)["modes"].items():
                rows.append({"name": precision, "set": "scifact", "mode": mode, **scores})
                print(rows[-1], flush=True)
    return rows


def report(rows: Sequence[Row]) -> None:
    columns = [key for key in rows[0] if key != "name"]
    print(f"{'':22}" + "".join(f"{column:>17}" for column in columns))
    for row in rows:
        print(f"{row['name']:22}" + "".join(f"{row[column]:>17}" for column in columns))
    by_name = {str(row["name"]): row for row in rows}

    def ratio(key: str, one: str, other: str) -> str:
        return f"{float(str(by_name[one][key])) / float(str(by_name[other][key])):.2f}"

    print()
    for chunks in ("c128", "c200"):
        print(f"{chunks}: {ratio(f'{chunks}_cpu_ms', 'onnxruntime', 'ours')} of the floor by CPU time, ", end="")
        print(f"{ratio(f'{chunks}_per_s', 'ours', 'onnxruntime')} by texts per second")
    if "sentence-transformers" in by_name:
        print(f"start: {ratio('start_s', 'sentence-transformers', 'ours')} x as fast as torch")
