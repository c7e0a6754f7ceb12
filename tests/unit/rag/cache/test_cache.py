"""The cache never serves what has expired, what belongs to another scope, or what it cannot read."""

import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ragents.llm.asked import asked_by
from ragents.rag.cache import CacheConfig, CacheScope, MemoryCache, RAGCache, get_cache
from ragents.rag.cache.packing import unpack
from ragents.rag.cache.semantic.packing import unpack as unpack_semantic
from ragents.rag.cache.types import LONGEST_S
from ragents.rag.types import Citation, RAGResponse, Source, Usage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_cache(clock: Clock | None = None, *, max_bytes: int = 10**6, **settings: object) -> RAGCache:
    return RAGCache(CacheConfig.model_validate(settings), MemoryCache(max_bytes, clock=clock or Clock()))


RESPONSE = RAGResponse(
    query="why?",
    sources=(Source("c1", "d1", "a.md", "A", "text " * 300, 0.5, page=2, headings=("H",), metadata={"year": 2024}),),
    confidence=0.75,
    answer="Because [1].",
    citations=(Citation(1, "c1", "text"),),
    model="extractive",
    usage=Usage(1, 2, None),
    timings={"embed_ms": 1.5},
)


async def got(cache: RAGCache, scope: CacheScope, query: str = "q") -> RAGResponse | None:
    found = await cache.get_answer(query, scope=scope)
    return found.response if found else None


scopes = st.builds(
    CacheScope,
    tenant=st.text(max_size=5),
    collection=st.text(max_size=5),
    epoch=st.integers(0, 5),
    model=st.text(max_size=5),
    access=st.text(max_size=3),
    parameters=st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers(), st.none())),
)


@given(scopes, st.text(max_size=5), scopes, st.text(max_size=5))
def test_keys_are_equal_only_for_equal_scope_and_text(a: CacheScope, x: str, b: CacheScope, y: str) -> None:
    assert (a.key("answer", x) == b.key("answer", y)) == ((a, x) == (b, y))


def test_layers_do_not_share_keys() -> None:
    assert CacheScope().key("answer", "q") != CacheScope().key("retrieval", "q")


async def test_what_was_stored_comes_back_equal() -> None:
    cache = make_cache()
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    assert (await got(cache, CacheScope())) == RESPONSE


async def test_another_tenant_epoch_or_parameter_misses() -> None:
    cache = make_cache()
    scope = CacheScope("a", "docs", 1, "m", {"top_k": 5})
    await cache.cache_answer("q", RESPONSE, scope=scope)
    for other in (
        CacheScope("b", "docs", 1, "m", {"top_k": 5}),
        CacheScope("a", "docs", 2, "m", {"top_k": 5}),
        CacheScope("a", "docs", 1, "m", {"top_k": 6}),
    ):
        assert await cache.get_answer("q", scope=other) is None


async def test_retrieval_of_another_top_k_misses() -> None:
    cache = make_cache()
    await cache.cache_retrieval("q", RESPONSE, 5)
    assert await cache.get_retrieval("q", 5) == RESPONSE
    assert await cache.get_retrieval("q", 6) is None


async def test_an_expired_entry_is_a_miss_and_leaves_no_bytes() -> None:
    clock = Clock()
    cache = make_cache(clock, answer_ttl=10)
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    clock.now = 10.0
    assert await cache.get_answer("q", scope=CacheScope()) is None
    assert (await cache.stats())["answer"].bytes == 0


async def test_a_ttl_of_zero_switches_the_layer_off() -> None:
    cache = make_cache(answer_ttl=0)
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    assert await cache.get_answer("q", scope=CacheScope()) is None
    assert (await cache.stats())["answer"].misses == 0


async def test_a_damaged_entry_is_a_miss() -> None:
    backend = MemoryCache(10**6)
    cache = RAGCache(CacheConfig(), backend)
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    key = next(iter(backend._entries))
    for damaged in (b"", b"\x00{}", b"\x01garbage", b"\x07what", b'\x00{"query": 3}'):
        await backend.set(key, damaged, 100)
        assert await cache.get_answer("q", scope=CacheScope()) is None


def bombs() -> list[bytes]:
    """Small frames that would be large: one says so, one says more than there is, one does not say."""
    packer = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    silent = packer.compress(bytes(64 * 1024 * 1024)) + packer.flush()
    forged = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 46) + b"\x01\x00\x00"
    return [zstandard.ZstdCompressor(level=1).compress(bytes(64 * 1024 * 1024)), forged, silent, b"\x28\xb5\x2f\xfd"]


@pytest.mark.parametrize("bomb", bombs(), ids=["says so", "says more", "does not say", "cut off"])
@pytest.mark.parametrize("unpack", [lambda bomb: unpack(b"\x01" + bomb), unpack_semantic], ids=["answer", "semantic"])
def test_an_entry_that_would_unpack_to_more_than_is_ever_kept_is_not_unpacked(
    unpack: Callable[[bytes], object], bomb: bytes
) -> None:
    tracemalloc.start()
    try:
        assert not unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_statistics_count_what_happened_per_tenant() -> None:
    cache = make_cache()
    ours, theirs = CacheScope("ours"), CacheScope("theirs")
    await cache.cache_answer("q", RESPONSE, scope=ours)
    await cache.get_answer("q", scope=ours)
    await cache.get_answer("q", scope=theirs)
    await cache.get_answer("other", scope=ours)
    mine = (await cache.stats(tenant="ours"))["answer"]
    assert (mine.hits, mine.misses, mine.entries, mine.hit_rate) == (1, 1, 1, 0.5)
    assert (await cache.stats(tenant="theirs"))["answer"].misses == 1
    assert (await cache.stats())["answer"].misses == 2


async def test_a_tenants_clear_leaves_others_alone() -> None:
    cache = make_cache()
    for tenant in ("a", "a:b", ""):
        await cache.cache_answer("q", RESPONSE, scope=CacheScope(tenant))
    assert (await cache.clear("answer", tenant="a"))["answer"] == 1
    assert await cache.get_answer("q", scope=CacheScope("a:b")) is not None
    assert sum((await cache.clear()).values()) == 2


async def test_vectors_survive_to_the_bit_and_unknown_ones_are_none() -> None:
    cache = make_cache()
    vector = np.linspace(-1, 1, 384, dtype=np.float32)
    with asked_by("t", read_along=False):
        await cache.put_many({"k": vector})
        found, missing = await cache.get_many(["k", "other"])
    assert missing is None
    assert found is not None
    assert found.tobytes() == vector.tobytes()


async def test_a_vector_that_holds_no_number_is_a_miss() -> None:
    backend = MemoryCache(10**6)
    cache = RAGCache(CacheConfig(), backend)
    with asked_by("t", read_along=False):
        await cache.put_many({"k": np.array([1, np.nan], np.float32), "l": np.array([1, np.inf], np.float32)})
        assert await cache.get_many(["k", "l"]) == [None, None]


async def test_the_door_makes_a_memory_cache() -> None:
    cache = get_cache(CacheConfig(max_cache_size_mb=1))
    await cache.initialize()
    assert cache.backend == "memory"
    await cache.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_cache_size_mb", 0),
        ("max_cache_size_mb", float("inf")),
        ("max_cache_size_mb", float("nan")),
        ("max_cache_size_mb", 1e300),
        ("answer_ttl", -1),
        ("answer_ttl", float("inf")),
        ("answer_ttl", 1e17),
        ("chunk_ttl", 1e17),
        ("timeout_s", float("inf")),
        ("retry_s", float("nan")),
    ],
)
def test_a_number_that_no_cache_could_keep_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        CacheConfig.model_validate({key: value})


@pytest.mark.parametrize("backend", ["memory", "redis"])
async def test_the_longest_time_and_the_smallest_budget_work(backend: str, request: pytest.FixtureRequest) -> None:
    settings = {"backend": backend, "namespace": "longest", "timeout_s": 5, "answer_ttl": LONGEST_S}
    if backend == "redis":
        settings["redis_url"] = request.getfixturevalue("redis_url")
    cache = get_cache(CacheConfig.model_validate(settings))
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    found = await cache.get_answer("q", scope=CacheScope())
    assert found is not None
    assert not found.due
    await cache.clear()
    await cache.close()
    cache = get_cache(CacheConfig.model_validate({**settings, "max_cache_size_mb": 1e-6}))
    await cache.cache_answer("q", RESPONSE, scope=CacheScope())
    assert await cache.get_answer("q", scope=CacheScope()) is None
    assert cache.state is None
    await cache.close()


@pytest.mark.parametrize("key", ["redis_port", "ttl"])
def test_a_setting_that_does_not_exist_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="extra"):
        CacheConfig.model_validate({key: "x"})
