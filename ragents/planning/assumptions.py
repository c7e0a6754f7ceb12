"""What the planner takes for granted: each number with where it comes from, each open to another value.

"measured" is a benchmark of this project on its machine (docs/performance.md names it), "settings" a default of the
settings, "chosen" a judgement, and "your price" is known to nobody but you: it has no value until you give one.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ragents.errors import ConfigError

Origin = Literal["measured", "settings", "chosen", "your price"]


@dataclass(frozen=True, slots=True)
class Assumption:
    name: str
    value: float | None
    unit: str
    origin: Origin
    source: str


def _table(*rows: tuple[str, float | None, str, Origin, str]) -> dict[str, Assumption]:
    return {row[0]: Assumption(*row) for row in rows}


QUERY = "make bench SUITE=query, docs/performance.md"
MILLION = "python -m benchmarks.million, docs/store.md"

ASSUMPTIONS = _table(
    # The service.
    ("cpu_ms_per_answer", 25, "ms", "measured", f"{QUERY}: 12 to 25 ms, the most with one client"),
    ("extractive_cpu_ms", 147, "ms", "measured", "docs/store.md: 15 ms with rag.sentence_vectors"),
    ("cpu_ms_per_hit", 4.7, "ms", "measured", "docs/scaling.md: an answer from the cache over HTTP, busy machine"),
    ("worker_mb", 450, "MB", "measured", "docs/scaling.md: with a generative model; 323 at its start with extractive"),
    ("listener_mb", 110, "MB", "measured", "docs/scaling.md: the process that starts a server's workers"),
    ("max_in_flight", 50, "questions", "settings", "serving.max_in_flight of a worker"),
    ("pool_size", 5, "connections", "chosen", "store.pool_size of a worker (its default is 10)"),
    ("model_s", 5, "s", "chosen", "from a question to the last token of its answer; measure yours"),
    ("extractive_s", 0.5, "s", "chosen", "an answer of the extractive model"),
    ("busy_hours", 10, "h", "chosen", "hours of a day in which questions are asked"),
    ("peak_factor", 3, "", "chosen", "the busiest minutes beside the mean of the busy hours"),
    ("utilisation", 0.5, "", "chosen", "share of CPU and of places that is used at the peak"),
    ("local_users", 10, "users", "chosen", "up to so many one process may be away for a restart"),
    ("local_chunks", 1_000_000, "chunks", "measured", f"{MILLION}: the embedded Postgres as it is shipped"),
    ("cluster_users", 200, "users", "chosen", "from so many on a machine may not be away for a restart"),
    ("machine_cores", 16, "cores", "chosen", "the largest single machine that you would run"),
    ("machine_gb", 64, "GB", "chosen", "its memory"),
    # The store.
    ("chunks_per_document", 30, "chunks/document", "measured", "docs/performance.md: 685 files, 20,623 chunks"),
    ("search_ms_million", 42.7, "ms", "measured", f"{MILLION}: CPU of a hybrid search in 1,000,000 chunks"),
    ("search_exponent", 0.34, "", "measured", "19.5 ms in 100,000 chunks (SUITE=hybrid): log10(42.7 / 19.5)"),
    ("text_bytes", 1123, "bytes/chunk", "measured", f"{MILLION}: texts and documents"),
    ("vector_bytes", 1672, "bytes/chunk", "measured", f"{MILLION}: 384 dimensions"),
    ("word_bytes", 1244, "bytes/chunk", "measured", f"{MILLION}: words, scores, counts"),
    ("hnsw_bytes", 1219, "bytes/chunk", "measured", f"{MILLION}: the graph, 24 neighbours"),
    ("gin_bytes", 371, "bytes/chunk", "measured", f"{MILLION}: the words' index"),
    ("key_bytes", 308, "bytes/chunk", "measured", f"{MILLION}: other keys"),
    ("build_bytes", 2500, "bytes/chunk", "measured", "docs/store.md: what a build asks for, 4 GB at most"),
    ("turn_bytes", 38_500, "bytes", "measured", "docs/performance.md: 7.7 MB for a thread of 200 turns"),
    ("kept_days", 90, "days", "chosen", "how long threads are kept (checkpoint.ttl_seconds)"),
    ("bloat", 1.3, "", "chosen", "tables between two vacuums"),
    ("hot_share", 0.75, "", "chosen", "share of Postgres' memory for what searches read"),
    ("chunks_per_s", 57.8, "chunks/s", "measured", "make bench SUITE=ingest, two cores"),
    # Redis.
    ("answer_bytes", 2800, "bytes", "measured", "docs/scaling.md: an answer with five sources, compressed"),
    ("retrieval_bytes", 2450, "bytes", "measured", "docs/scaling.md: a search's result, compressed"),
    ("embedding_bytes", 1850, "bytes", "measured", "docs/scaling.md: a question's vector"),
    ("answer_ttl_h", 1, "h", "settings", "cache.answer_ttl, and that of searches"),
    ("embedding_ttl_h", 24, "h", "settings", "cache.embedding_ttl"),
    ("limit_bytes", 1000, "bytes", "chosen", "rate limits of one user"),
    # The model.
    ("prompt_tokens", 1500, "tokens", "chosen", "five passages of up to 1,000 characters, and the rules"),
    ("completion_tokens", 200, "tokens", "chosen", "an answer; llm.max_tokens is 2000"),
    (
        "gpu_tokens_per_s",
        1000,
        "tokens/s",
        "chosen",
        "written by one GPU for all at once; measure with vllm bench serve",
    ),
    ("gpu_utilisation", 0.8, "", "chosen", "above it another GPU is due"),
    # Money, in your currency.
    ("price_prompt", None, "per million tokens", "your price", "what your model's provider asks"),
    ("price_completion", None, "per million tokens", "your price", "what your model's provider asks"),
    ("price_gpu_hour", None, "per hour", "your price", "a GPU that your model fits in"),
    ("price_core_month", None, "per month", "your price", "a core"),
    ("price_gb_month", None, "per month", "your price", "a GB of memory"),
    ("price_disk_gb_month", None, "per month", "your price", "a GB of disk"),
    ("days_per_month", 30, "days", "chosen", "days on which questions are asked"),
)
SHARES = ("utilisation", "hot_share", "gpu_utilisation")
MAY_BE_ZERO = ("kept_days", "search_exponent")

RANGES = {
    "busy_hours": (0.01, 24),
    "peak_factor": (1, 1_000),
    "search_exponent": (0, 1),
    "bloat": (1, 100),
    "days_per_month": (1, 31),
} | dict.fromkeys(SHARES, (0.01, 1))
RANGES_OF_UNITS = {
    "ms": (0, 1e6),
    "s": (0, 3_600),
    "h": (0, 8_760),
    "days": (0, 36_500),
    "MB": (0, 1e6),
    "GB": (1, 1e6),
    "cores": (1, 1e5),
    "users": (1, 1e7),
    "chunks": (1, 1e9),
    "questions": (1, 1e5),
    "connections": (1, 1e4),
    "bytes": (0, 1e9),
    "bytes/chunk": (0, 1e7),
    "chunks/s": (0.01, 1e7),
    "tokens": (0, 1e7),
    "tokens/s": (0.01, 1e7),
    "chunks/document": (0, 1e6),
} | dict.fromkeys(("per million tokens", "per hour", "per month"), (0, 1e9))
"""Wide enough for every machine, and such that no result is infinite; what is in no range is a slip of the keyboard."""


def assume(changes: Iterable[str] = ()) -> Mapping[str, Assumption]:
    """The table with `NAME=VALUE` put in; ConfigError for a name or a number that cannot be."""
    table = dict(ASSUMPTIONS)
    for change in changes:
        name, mark, text = change.partition("=")
        if not mark:
            raise ConfigError(f"--assume {change!r}: expected NAME=VALUE, for example cpu_ms_per_answer=20")
        if name not in table:
            raise ConfigError(f"--assume {change!r}: there is no {name!r}; one of {', '.join(table)}")
        table[name] = Assumption(name, _number(change, name, text), table[name].unit, table[name].origin, "you")
    return table


def _number(change: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"--assume {change!r}: {text!r} is no number") from None
    free = name in MAY_BE_ZERO or name.startswith("price_")
    if not math.isfinite(value) or value < 0 or (value == 0 and not free):
        raise ConfigError(f"--assume {change!r}: expected a number {'from 0 on' if free else 'above 0'}")
    if name in SHARES and value > 1:
        raise ConfigError(f"--assume {change!r}: expected a share, up to 1")
    unit = ASSUMPTIONS[name].unit
    least, most = RANGES[name] if name in RANGES else RANGES_OF_UNITS[unit]
    if not least <= value <= most:
        raise ConfigError(f"--assume {change!r}: expected {least:.10g} to {most:.10g} {unit}".rstrip())
    return value
