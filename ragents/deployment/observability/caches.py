"""Metrics of the caches."""

from collections.abc import Mapping
from dataclasses import replace

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from ragents.deployment.observability import workers
from ragents.rag.cache import RAGCache
from ragents.rag.cache.cache import LayerCounts


class CacheMetrics:
    """The caches count by themselves; what came since the last time is added here."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._hits = Counter("rag_cache_hits_total", "Cache hits", ["layer"], registry=registry)
        self._misses = Counter("rag_cache_misses_total", "Cache misses", ["layer"], registry=registry)
        self._evictions = Counter("rag_cache_evictions_total", "Entries evicted", ["layer"], registry=registry)
        self._joined = Counter(
            "rag_cache_joined_total", "Questions told the answer that an equal one waited for", registry=registry
        )
        self._up = Gauge(
            "rag_cache_up", "Whether the cache works in full", multiprocess_mode="livemin", registry=registry
        )
        self._hit_rate = Gauge(
            "rag_cache_hit_rate",
            "Hits / look-ups of all workers since the server began, 0..1",
            ["layer"],
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._bytes: Gauge | None = None
        self._seen: dict[str, LayerCounts] = {}
        self._seen_joined = 0

    def counted(self, layers: Mapping[str, LayerCounts]) -> None:
        """What a cache of this process has counted since it began."""
        for layer, now in layers.items():
            before = self._seen.get(layer)
            if before == now:  # most layers, after most questions
                continue
            if before is None or now.hits < before.hits or now.misses < before.misses:
                before = LayerCounts()  # a new cache, which began at 0
            self._hits.labels(layer).inc(now.hits - before.hits)
            self._misses.labels(layer).inc(now.misses - before.misses)
            self._evictions.labels(layer).inc(max(0, now.evictions - before.evictions))
            self._seen[layer] = replace(now)

    def observe(self, cache: RAGCache) -> None:
        """After each question: what costs nothing to know."""
        self.counted({str(layer): counts for layer, counts in cache.counted.items()})
        self._joined.inc(max(0, cache.joined - self._seen_joined))
        self._seen_joined = cache.joined
        self._up.set(cache.state is None)

    async def look(self, cache: RAGCache) -> None:
        """Now and then: bytes, which are asked of the backend, and rates, which are in the files of all workers."""
        self.observe(cache)
        held = self._held(shared=cache.backend == "redis")
        for layer, stats in (await cache.stats()).items():
            held.labels(layer).set(stats.bytes)
        self._rates()

    def _held(self, *, shared: bool) -> Gauge:
        """On Redis every worker sees the same bytes; in memory each has its own."""
        if self._bytes is None:
            mode = "livemostrecent" if shared else "livesum"
            self._bytes = Gauge(
                "rag_cache_bytes",
                "Bytes held",
                ["layer"],
                multiprocess_mode=mode,  # type: ignore[arg-type]
                registry=self._registry,
            )
        return self._bytes

    def _rates(self) -> None:
        if workers.several():
            hits = workers.counted_by_all("rag_cache_hits_total", "layer")
            misses = workers.counted_by_all("rag_cache_misses_total", "layer")
        else:
            hits = {layer: float(counts.hits) for layer, counts in self._seen.items()}
            misses = {layer: float(counts.misses) for layer, counts in self._seen.items()}
        for layer in self._seen:
            total = hits.get(layer, 0.0) + misses.get(layer, 0.0)
            self._hit_rate.labels(layer).set(hits.get(layer, 0.0) / total if total else 0.0)
