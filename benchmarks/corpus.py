"""A synthetic collection for the store: clustered vectors, texts of Zipfian words, several tenants, the real roles.

Vectors: unit, 1,000 clusters whose sizes follow Zipf's law, with noise. Texts: about 100 words out of 50,000,
frequencies by Zipf's law; words that stemming leaves alone. Real texts have topics and
real vectors follow them; here both are independent, which makes fusing no easier and no harder to compute.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragents.deployment.app import APP_ROLE, migrate_all
from ragents.embedded import open_postgres
from ragents.embeddings.types import Vectors
from ragents.principal import Principal
from ragents.rag.store.pgvector import PgVectorStore, open_pgvector
from ragents.rag.store.types import StoreConfig
from ragents.rag.types import Chunk, Document

DIMENSION = 384
CHUNKS_PER_DOCUMENT = 10
VOCABULARY = 50_000
MODEL = "synthetic"
MAIN = Principal(tenant="main")
NEIGHBOURS = 10
NEIGHBOUR_CHUNKS = 2_000
WRITERS = 4


@dataclass(frozen=True)
class Database:
    """`dsn` is the role that serves, `owner` the one that migrates."""

    dsn: str
    owner: str


@asynccontextmanager
async def database(home: Path | None = None) -> AsyncIterator[Database]:
    """A Postgres of its own: in `home`, where it stays, or in a directory that goes with it."""
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        home = home or Path(directory)
        home.chmod(0o755)
        async with open_postgres(home / "postgres") as owner:
            dsn = owner.replace("postgres@", f"{APP_ROLE}@", 1)
            await migrate_all(owner, dsn=dsn)
            yield Database(dsn, owner)


@asynccontextmanager
async def open_bench_store(base: Database) -> AsyncIterator[PgVectorStore]:
    config = StoreConfig(statement_timeout_s=120)
    async with open_pgvector(base.dsn, config, migrate_dsn=base.owner) as store:
        yield store


def clustered(count: int, *, seed: int = 1, queries: int = 0) -> tuple[Vectors, Vectors]:
    """(count, 384) to store, and (queries, 384) from the same clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(1_000, DIMENSION))
    weights = 1 / np.arange(1, 1_001) ** 0.7
    labels = rng.choice(1_000, size=count + queries, p=weights / weights.sum())
    vectors = np.empty((count + queries, DIMENSION), np.float32)
    for start in range(0, len(vectors), 20_000):
        part = labels[start : start + 20_000]
        vectors[start : start + 20_000] = centres[part] + 0.8 * rng.normal(size=(len(part), DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[:count], vectors[count:]


def vocabulary() -> list[str]:
    """Pronounceable nonsense that ends in "o": no stemmer and no stop list touches it."""
    rng = random.Random(5)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        words["".join(rng.choice("bdfgklmnprtvz") + rng.choice("aou") for _ in range(rng.randint(2, 4))) + "xo"] = None
    return list(words)


def zipfian(count: int, *, seed: int = 2, words: int = 100) -> list[str]:
    rng = np.random.default_rng(seed)
    names = np.array(vocabulary())
    weights = 1 / np.arange(2, VOCABULARY + 2)
    lengths = rng.integers(words // 2, words * 3 // 2, size=count)
    drawn = names[rng.choice(VOCABULARY, size=int(lengths.sum()), p=weights / weights.sum())]
    return [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def questions(texts: Sequence[str], count: int, *, seed: int = 3) -> list[str]:
    """Five words of one chunk and three of the hundred most common ones, as people ask."""
    rng = random.Random(seed)
    common = vocabulary()[:100]
    return [" ".join(rng.sample(rng.choice(texts).split(), 5) + rng.sample(common, 3)) for _ in range(count)]


def metadata_of(document: int) -> dict[str, str | int | float | bool | None]:
    """A key for each share: 10 %, 1 % and 0.1 % of documents have the value 0."""
    return {"all": True, "tenth": document % 10, "hundredth": document % 100, "thousandth": document % 1_000}


async def load(
    store: PgVectorStore,
    vectors: Vectors,
    texts: Sequence[str],
    *,
    principal: Principal = MAIN,
    collection: str = "default",
    per_document: int = CHUNKS_PER_DOCUMENT,
    first: int = 0,
) -> float:
    """Store everything through upsert, several documents at once, numbered from `first` on; seconds it took."""
    starts = iter(range(0, len(texts), per_document))
    begun = time.perf_counter()

    async def write() -> None:
        for start in starts:
            part = slice(start, start + per_document)
            chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(texts[part])]
            number = first + start // per_document
            await store.upsert(
                Document(f"{number}.md", "", "md", str(number), metadata=metadata_of(number)),
                chunks,
                vectors[part],
                principal=principal,
                collection=collection,
                embedding_model=MODEL,
            )

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return time.perf_counter() - begun


async def load_neighbours(store: PgVectorStore, *, texts: Sequence[str] | None = None) -> None:
    """Other tenants in the same tables."""
    for number in range(NEIGHBOURS):
        vectors, _ = clustered(NEIGHBOUR_CHUNKS, seed=100 + number)
        own = texts[:NEIGHBOUR_CHUNKS] if texts else ["" for _ in range(NEIGHBOUR_CHUNKS)]
        await load(store, vectors, own, principal=Principal(tenant=f"neighbour-{number}"))
