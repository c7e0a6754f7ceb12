"""What the caches save."""

from deploy.grafana.parts import Dashboard, Panel, quantiles, rate

CACHE = Dashboard(
    "cache",
    "cache",
    "What the caches save.",
    (
        Panel(
            "Answer cache's hit rate",
            "Of the last ten minutes, over all servers.",
            (('rag:cache_hits:ratio_rate10m{layer="answer"}', "answer"),),
            "percentunit",
            "gauge",
            (),
            most=1,
        ),
        Panel(
            "Questions answered from a cache",
            "Share of the answers.",
            (
                (
                    '(sum(rate(rag_query_duration_seconds_count{cached!="none"}[$__rate_interval])) or vector(0)) '
                    "/ sum(rate(rag_query_duration_seconds_count[$__rate_interval]))",
                    "cached",
                ),
            ),
            "percentunit",
            most=1,
        ),
        Panel(
            "Works in full",
            "0: Redis is away or has no memory left; questions are answered without the cache.",
            (("min by (instance) (rag_cache_up)", "{{instance}}"),),
            "short",
            most=1,
        ),
        Panel(
            "Hit rates",
            "Of the last ten minutes, by layer.",
            (("rag:cache_hits:ratio_rate10m", "{{layer}}"),),
            "percentunit",
            most=1,
        ),
        Panel(
            "Hit rates since the start",
            "Of each server's workers together.",
            (("avg by (layer) (rag_cache_hit_rate)", "{{layer}}"),),
            "percentunit",
            most=1,
        ),
        Panel(
            "Look-ups",
            "By layer.",
            (
                ("sum by (layer) (rate(rag_cache_hits_total[$__rate_interval]))", "hit {{layer}}"),
                ("sum by (layer) (rate(rag_cache_misses_total[$__rate_interval]))", "miss {{layer}}"),
            ),
            "ops",
        ),
        Panel(
            "Bytes",
            "Of the fullest server; on Redis all servers tell the same.",
            (("max by (layer) (rag_cache_bytes)", "{{layer}}"),),
            "bytes",
        ),
        Panel("Evictions", "Entries that went to make room.", rate("rag_cache_evictions_total", "layer"), "ops"),
        Panel(
            "Cached answers",
            "Time to answer from a cache.",
            quantiles("rag_query_duration_seconds", "", '{cached!="none"}'),
            "s",
            thresholds=((2, "red"),),
        ),
    ),
)
