"""The engine finds, answers, and never answers from what has changed."""

import pytest

from ragents.errors import InputError, NotFound
from ragents.principal import ANONYMOUS, Principal
from ragents.rag.engine import RAGEngine
from tests.doubles import add_document, make_cache, make_engine

QUESTION = "Where does adaptive batching sit?"


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
async def test_an_empty_question_is_an_input_error(text: str) -> None:
    engine = await make_engine()
    with pytest.raises(InputError) as error:
        await engine.retrieve(text)
    assert error.value.field == "query"


async def test_an_unknown_collection_is_not_found() -> None:
    engine = await make_engine()
    with pytest.raises(NotFound, match="'nowhere'"):
        await engine.retrieve(QUESTION, collection="nowhere")


async def test_a_foreign_collection_is_not_found() -> None:
    engine = await make_engine()
    with pytest.raises(NotFound):
        await engine.retrieve(QUESTION, principal=Principal("other"))


async def test_an_engine_without_a_model_says_what_to_pass() -> None:
    engine = await make_engine()
    bare = RAGEngine(embedder=engine.embedder, store=engine.store)
    with pytest.raises(InputError, match="llm="):
        await bare.query(QUESTION)


async def test_the_best_source_comes_first_and_the_answer_cites_it() -> None:
    engine = await make_engine()
    answered = await engine.query(QUESTION)
    assert answered.sources[0].uri == "batching.md"
    assert answered.answer is not None
    assert answered.answer.startswith("Adaptive batching sits at the encoder")
    assert answered.citations[0].source_id == answered.sources[0].id
    assert {"embed_ms", "retrieve_ms", "generate_ms"} <= set(answered.timings)


async def test_top_k_bounds_the_sources() -> None:
    engine = await make_engine()
    assert len((await engine.retrieve(QUESTION, top_k=2)).sources) == 2


async def test_filters_keep_what_matches() -> None:
    engine = await make_engine()
    await add_document(engine, "new.md", ["Adaptive batching was new."], metadata={"year": "2026"})
    found = await engine.retrieve(QUESTION, filters={"year": "2026"})
    assert [source.uri for source in found.sources] == ["new.md"]


async def test_the_same_question_again_is_retrieved_from_the_cache() -> None:
    cache = make_cache()
    engine = await make_engine(cache=cache)
    first, second = await engine.retrieve(QUESTION), await engine.retrieve(QUESTION)
    assert first.sources == second.sources
    assert (await cache.stats())["retrieval"].hits == 1


async def test_without_the_cache_nothing_is_read_or_kept() -> None:
    cache = make_cache()
    engine = await make_engine(cache=cache)
    for _ in range(2):
        await engine.retrieve(QUESTION, use_cache=False)
    assert (await cache.stats())["retrieval"].entries == 0


async def test_a_changed_collection_is_never_answered_from_before() -> None:
    engine = await make_engine(cache=make_cache())
    document = (await engine.retrieve(QUESTION)).sources[0].document_id
    await engine.store.delete(document, principal=ANONYMOUS)
    assert all(source.uri != "batching.md" for source in (await engine.retrieve(QUESTION)).sources)


async def test_a_question_beyond_the_encoders_limit_is_searched_in_parts_and_says_so() -> None:
    engine = await make_engine()
    found = await engine.retrieve(f"{QUESTION} " * 200)
    assert found.sources[0].uri == "batching.md"
    assert "searched in" in found.notes[0]
