"""No two requests that differ in anything an entry depends on share one: of each layer, and field by field.

The property is checked with keys that leave a field out as well: it must find each of them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ragents.embeddings.cached import CachedEmbedder
from ragents.embeddings.hashing import HashingEmbedder
from ragents.ingestion.known import KnownVectors
from ragents.llm.asked import asked_by
from ragents.rag.cache import LAYERS, CacheConfig, CacheScope, MemoryCache, RAGCache, rewrite_scope
from ragents.rag.cache.semantic.types import question_digest, scope_digest
from ragents.rag.cache.types import Held
from ragents.rag.types import RAGResponse

Key = Callable[..., object]
RESPONSE = RAGResponse("q", answer="a")

names = st.text(max_size=6)
tricky = st.one_of(names, st.sampled_from(["", "a", "a:b", "a\nb", '"', "a,b", "[]", "null", "\ud800", "\0", "é", "é"]))
plain = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), tricky)
values = st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(tricky, plain, max_size=2))


@dataclass(frozen=True)
class Request:
    """All that any layer's key is made of."""

    tenant: str
    access: str
    collection: str
    epoch: int
    model: str
    prompt: str
    history: str
    parameters: dict[str, Any]
    text: str
    top_k: int
    models: tuple[str, ...]

    @property
    def scope(self) -> CacheScope:
        more = {"prompt": self.prompt, "history": self.history, "models": list(self.models), "of": self.parameters}
        return CacheScope(self.tenant, self.collection, self.epoch, self.model, more, self.access)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "tenant": tricky,
    "access": tricky,
    "collection": tricky,
    "epoch": st.integers(0, 2**62),
    "model": tricky,
    "prompt": tricky,
    "history": tricky,
    "parameters": st.dictionaries(tricky, values, max_size=2),
    "text": tricky,
    "top_k": st.integers(1, 50),
    "models": st.lists(tricky, max_size=2).map(tuple),
}
requests = st.builds(Request, **FIELDS)
SCOPED = frozenset(FIELDS) - {"top_k"}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def key_of_answer(r: Request) -> object:
    return RAGCache._key_of("answer", r.text, r.scope)


def key_of_flight(r: Request) -> object:
    """Whoever waits for another's answer is told it."""
    return r.scope.key("answer", r.text)


def key_of_retrieval(r: Request) -> object:
    return RAGCache._key_of("retrieval", f"{r.top_k}\n{r.text}", r.scope)


def key_of_rewrite(r: Request) -> object:
    scope = rewrite_scope(
        tenant=r.tenant, models=r.models, prompt=r.prompt, history=r.history, parameters={"of": r.parameters}
    )
    return RAGCache._key_of("query_rewrite", r.text, scope)


def key_of_semantic(r: Request) -> object:
    """Answers are compared within a scope only; of one scope a question's own digest names its entry."""
    return r.tenant, scope_digest(r.scope), question_digest(r.text)


class Named(HashingEmbedder):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def model(self) -> str:
        return self._name


class Asked(MemoryCache):
    """Tells what it was asked for."""

    keys: Sequence[str] = ()

    async def get_many(self, keys: Sequence[str]) -> list[Held | None]:
        self.keys = keys
        return await super().get_many(keys)


def key_of_embedding(r: Request) -> object:
    """As the backend sees it, when the tenant asks."""
    backend = Asked(1)
    embedder = CachedEmbedder(Named(r.model), RAGCache(CacheConfig(), backend))
    with asked_by(r.tenant or "longer than any that is drawn", read_along=False), suppress(StopIteration):
        embedder._lookup([embedder._key("query", readable(r.text))]).send(None)  # nothing in it waits
    (key,) = backend.keys
    return key


def key_of_chunk(r: Request) -> object:
    cache = RAGCache(CacheConfig(), MemoryCache(1)).chunk_vectors(r.tenant)
    return r.tenant, KnownVectors(cache, Named(r.model), anew=False)._key(r.text)


def readable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


KEYS: dict[str, tuple[Key, frozenset[str]]] = {
    "answer": (key_of_answer, SCOPED),
    "flight": (key_of_flight, SCOPED),
    "retrieval": (key_of_retrieval, frozenset(FIELDS)),
    "query_rewrite": (key_of_rewrite, frozenset({"tenant", "models", "prompt", "history", "parameters", "text"})),
    "semantic": (key_of_semantic, SCOPED),
    "embedding": (key_of_embedding, frozenset({"tenant", "model", "text"})),
    "chunk": (key_of_chunk, frozenset({"tenant", "model", "text"})),
}
CASES = [(layer, name) for layer, (_, depends) in KEYS.items() for name in sorted(depends)]


def same(a: object, b: object) -> bool:
    """As JSON, in which True is not 1."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def check(key: Key, name: str, request: Request, other: Any) -> None:
    """Two requests that differ in `name` alone have two keys, and a request always has the same."""
    if name == "text":
        request, other = replace(request, text=readable(request.text)), readable(other)
    changed = replace(request, **{name: other})
    if same(getattr(request, name), other):
        assert key(request) == key(changed)
    else:
        assert key(request) != key(changed), f"{name} is not in the key"


def test_every_layer_is_looked_at() -> None:
    assert set(KEYS) == {*LAYERS, "semantic", "flight"}


@pytest.mark.parametrize(("layer", "name"), CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_requests_that_differ_in_one_thing_share_no_entry(layer: str, name: str, data: st.DataObject) -> None:
    check(KEYS[layer][0], name, data.draw(requests), data.draw(FIELDS[name]))


@settings(max_examples=60, deadline=None)
@given(requests, requests)
def test_any_two_requests_share_an_entry_only_if_all_it_depends_on_is_equal(a: Request, b: Request) -> None:
    for key, depends in KEYS.values():
        alike = all(same(getattr(a, name), getattr(b, name)) for name in depends - {"text"}) and readable(
            a.text
        ) == readable(b.text)
        assert (key(replace(a, text=readable(a.text))) == key(replace(b, text=readable(b.text)))) == alike


@pytest.mark.parametrize(("layer", "name"), CASES)
def test_a_key_without_one_of_them_is_found_out(layer: str, name: str) -> None:
    """The check itself: hypothesis must find two requests that such a key takes for one."""
    key = KEYS[layer][0]
    blank = {"epoch": 0, "top_k": 1, "parameters": {}, "models": ()}.get(name, "")

    def forgetful(request: Request) -> object:
        return key(replace(request, **{name: blank}))

    @settings(max_examples=60, deadline=None, database=None, phases=[Phase.generate])
    @given(data=st.data())
    def checked(data: st.DataObject) -> None:
        check(forgetful, name, data.draw(requests), data.draw(FIELDS[name]))

    with pytest.raises(AssertionError, match=f"{name} is not in the key"):
        checked()


@given(st.lists(tricky, min_size=2, max_size=4), st.data())
def test_what_is_written_side_by_side_is_not_taken_for_one(parts: list[str], data: st.DataObject) -> None:
    """The same characters, divided otherwise between two neighbouring fields."""
    whole = "".join(parts)
    cut, other = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))
    one = CacheScope(tenant="t", collection=whole[:cut], model=whole[cut:])
    two = CacheScope(tenant="t", collection=whole[:other], model=whole[other:])
    assert (one.key("answer", "q") == two.key("answer", "q")) == (cut == other)


async def test_what_one_request_left_the_other_does_not_find() -> None:
    """Through the cache itself, for each field."""
    cache = RAGCache(CacheConfig(), MemoryCache(10**7))
    base = Request("t", "a", "c", 1, "m", "p", "h", {"k": 1}, "q", 5, ("x",))
    others = {
        "tenant": "T", "access": "A", "collection": "C", "epoch": 2, "model": "M", "prompt": "P", "history": "H",
        "parameters": {"k": True}, "text": "Q", "models": ("y",),
    }  # fmt: skip
    await cache.cache_answer(base.text, RESPONSE, scope=base.scope)
    await cache.cache_retrieval(base.text, RESPONSE, base.top_k, scope=base.scope)
    await cache.cache_rewrite(base.text, ["r"], scope=base.scope)
    with asked_by(base.tenant, read_along=False):
        await cache.put_many({base.text: np.ones(3, np.float32)})
    for name, value in others.items():
        changed = replace(base, **{name: value})
        assert await cache.get_answer(changed.text, scope=changed.scope) is None, name
        assert await cache.get_retrieval(changed.text, changed.top_k, scope=changed.scope) is None, name
        assert await cache.get_rewrite(changed.text, scope=changed.scope) is None, name
    assert await cache.get_retrieval(base.text, 6, scope=base.scope) is None
    assert await cache.get_answer(base.text, scope=base.scope) is not None
    with asked_by("T", read_along=False):
        assert await cache.get_many([base.text]) == [None]
    with asked_by(base.tenant, read_along=False):
        (other, own) = await cache.get_many(["Q", base.text])
    assert other is None
    assert own is not None
