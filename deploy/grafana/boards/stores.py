"""Postgres, Redis, disks, ingestions, the backup."""

from deploy.grafana.parts import BROKEN, FILLING, Dashboard, Panel, mean, quantiles, rate

STORES = Dashboard(
    "stores",
    "stores",
    "Postgres, the Redis of threads, disks, ingestions and the backup.",
    (
        Panel(
            "Connections",
            "To Postgres, of all servers.",
            (("sum by (state) (rag_db_pool_connections)", "{{state}}"),),
            "short",
        ),
        Panel(
            "Fullest pool",
            "Connections in use of each server's fullest pool, over five minutes.",
            (("rag:db_pool_used:ratio_avg5m", "{{instance}}"),),
            "percentunit",
            thresholds=FILLING,
            most=1,
        ),
        Panel("Search", "Time of retrieval.", quantiles("rag_stage_duration_seconds", "", '{stage="retrieve"}'), "s"),
        Panel(
            "Active threads",
            "Threads with a turn in the last five minutes; one that several servers serve counts in each.",
            (("sum(rag_active_threads)", "threads"),),
            "short",
        ),
        Panel("Checkpoint writes", "By backend.", rate("rag_checkpoint_writes_total", "backend"), "ops"),
        Panel(
            "Bytes of a checkpoint",
            "Mean, and 95th percentile.",
            ((mean("rag_checkpoint_bytes"), "mean"), *quantiles("rag_checkpoint_bytes", of=(0.95,))),
            "bytes",
        ),
        Panel(
            "Ingested",
            "Chunks a second while an ingestion runs, over half a minute and over five.",
            (
                ("sum(rag_ingest_chunks_per_second)", "30 s"),
                ("rag:ingest_chunks:rate5m", "5 min"),
                ("sum(rag_ingest_running)", "ingestions"),
            ),
            "short",
        ),
        Panel(
            "Disk of the embedded Postgres",
            "Share in use.",
            (("rag:disk_used:ratio", "{{instance}}"),),
            "percentunit",
            thresholds=((0.9, "red"),),
            most=1,
        ),
        Panel(
            "Redis of threads",
            "Share of its maxmemory.",
            (("max(rag_state_redis_memory_ratio)", "memory"),),
            "percentunit",
            thresholds=((0.9, "red"),),
            most=1,
        ),
        Panel(
            "Redis of threads: evicted",
            "Keys that it threw away since it began. None may ever go.",
            (
                ("max(rag_state_redis_evicted_keys)", "evicted"),
                ("max(rag_state_redis_may_evict)", "its settings let it"),
            ),
            "short",
            "stat",
            BROKEN,
        ),
        Panel(
            "Age of the backup",
            "Since the last one that succeeded.",
            (("time() - max(rag_backup_last_success_timestamp_seconds)", "backup"),),
            "s",
            "stat",
            ((93_600, "red"),),
        ),
    ),
)
