"""Postgres and Redis."""

from dataclasses import dataclass
from math import ceil

from ragents.planning.sheet import Sheet
from ragents.planning.types import Workload

GB = 1e9
HNSW_FROM_CHUNKS = 10_000
"""Below, a collection is searched exactly and has no graph."""
MEASURED_CHUNKS = 1_000_000
MAX_BUILD_GB, WAL_GB = 4.0, 4.0
MIN_MEMORY_GB, MIN_REDIS_GB = 1.0, 0.064


@dataclass(frozen=True)
class Postgres:
    memory_gb: float
    disk_gb: float
    cores: int
    extrapolated: bool


def size_postgres(sheet: Sheet, workload: Workload, answered: float) -> Postgres:
    chunks = workload.chunks
    graph = sheet["hnsw_bytes"] if chunks > HNSW_FROM_CHUNKS else 0.0
    keys = sheet["gin_bytes"] + sheet["key_bytes"]
    read, text, bloat = sheet["vector_bytes"] + sheet["word_bytes"], sheet["text_bytes"], sheet["bloat"]
    tables = sheet.put(
        "postgres",
        "tables",
        chunks * (read + text) * bloat / GB,
        "GB",
        f"{chunks} chunks x {read + text:g} bytes x {bloat:g}",
    )
    indexes = sheet.put(
        "postgres",
        "indexes",
        chunks * (graph + keys) / GB,
        "GB",
        f"{chunks} x ({graph:g} vectors + {keys:g} words and keys) bytes",
    )
    threads = sheet.put(
        "postgres",
        "threads",
        workload.questions_per_day * sheet["kept_days"] * sheet["turn_bytes"] / GB,
        "GB",
        f"{workload.questions_per_day:g} a day x {sheet['kept_days']:g} days x {sheet['turn_bytes']:g} bytes",
    )
    second = chunks * (sheet["vector_bytes"] + graph) / GB
    disk = sheet.put(
        "postgres",
        "disk",
        float(ceil(tables + indexes + threads + second + WAL_GB)),
        "GB",
        f"{tables:.3g} + {indexes:.3g} + {threads:.3g} + {second:.3g} for a second set of vectors + {WAL_GB:g} of WAL; "
        "backups lie elsewhere",
    )
    build = sheet.put(
        "postgres",
        "maintenance_work_mem",
        min(MAX_BUILD_GB, max(0.064, chunks * sheet["build_bytes"] / GB)),
        "GB",
        f"{chunks} x {sheet['build_bytes']:g} bytes, {MAX_BUILD_GB:g} GB at most; /dev/shm as much",
    )
    hot = indexes + chunks * read / GB
    memory = sheet.put(
        "postgres",
        "memory",
        max(MIN_MEMORY_GB, hot / sheet["hot_share"] + build),
        "GB",
        f"(indexes {indexes:.3g} + vectors and words {chunks * read / GB:.3g}) / {sheet['hot_share']:g} + {build:.3g}, "
        f"at least {MIN_MEMORY_GB:g}",
    )
    sheet.put("postgres", "shared_buffers", memory / 4, "GB", f"{memory:.3g} / 4")
    sheet.put("postgres", "effective_cache_size", memory * 0.75, "GB", f"{memory:.3g} x 3/4")
    return Postgres(memory, disk, _cores(sheet, chunks, answered), chunks > MEASURED_CHUNKS)


def _cores(sheet: Sheet, chunks: int, answered: float) -> int:
    at_million, exponent, share = sheet["search_ms_million"], sheet["search_exponent"], sheet["utilisation"]
    search = sheet.put(
        "postgres",
        "CPU of a search",
        at_million * (max(chunks, 1) / MEASURED_CHUNKS) ** exponent,
        "ms",
        f"{at_million:g} ms x ({chunks} / {MEASURED_CHUNKS}) ^ {exponent:g}",
    )
    cores = sheet.put(
        "postgres",
        "cores",
        max(1, ceil(answered * search / 1000 / share)),
        "",
        f"{answered:.3g}/s x {search:.3g} ms / 1000 / {share:g}, at least 1",
    )
    sheet.put(
        "postgres",
        "first ingestion",
        chunks / sheet["chunks_per_s"] / 3600,
        "h",
        f"{chunks} / {sheet['chunks_per_s']:g} a second, one process on two cores",
    )
    return int(cores)


def size_redis(sheet: Sheet, workload: Workload, answered: float) -> float:
    """GB of both, as maxmemory."""
    entry, hours = sheet["answer_bytes"] + sheet["retrieval_bytes"], sheet["answer_ttl_h"]
    day, days = workload.questions_per_day * (1 - workload.hit_rate), sheet["embedding_ttl_h"] / 24
    vector = sheet["embedding_bytes"]
    cache = sheet.put(
        "redis",
        "cache (allkeys-lru)",
        max(MIN_REDIS_GB, 2 * (answered * 3600 * hours * entry + day * days * vector) / GB),
        "GB",
        f"2 x ({answered:.3g}/s x 3600 x {hours:g} h x {entry:g} bytes + {day:g} a day x {days:g} x {vector:g} bytes), "
        f"at least {MIN_REDIS_GB:g}",
    )
    state = sheet.put(
        "redis",
        "state (noeviction)",
        max(MIN_REDIS_GB, 2 * workload.users * sheet["limit_bytes"] / GB),
        "GB",
        f"2 x {workload.users} users x {sheet['limit_bytes']:g} bytes, at least {MIN_REDIS_GB:g}",
    )
    return cache + state
