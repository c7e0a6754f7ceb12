"""The cross-encoder, with a small random model that the test makes. Needs the extra `torch`."""

import asyncio
from pathlib import Path

import pytest

from ragents.errors import ConfigError, RerankerUnavailable
from ragents.rag.rerank import RerankConfig, open_reranking
from ragents.rag.types import Source
from tests.extras.test_sentence_transformers import make_model

pytestmark = pytest.mark.extras


def make_reranker(path: Path, *, labels: int = 1) -> Path:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    made = make_model(path / "words", pooling="mean", prompts={})
    config = BertConfig.from_pretrained(made, num_labels=labels)
    BertForSequenceClassification(config).save_pretrained(path / "reranker")
    AutoTokenizer.from_pretrained(made).save_pretrained(path / "reranker")
    return path / "reranker"


def settings(model: Path | str) -> RerankConfig:
    return RerankConfig(provider="cross_encoder", model=str(model), device="cpu", timeout_s=30)


async def test_a_model_that_is_nowhere_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"rerank.model = 'no/such-model' cannot be loaded"):
        async with open_reranking(settings("no/such-model")):
            pass


async def test_a_model_that_is_no_reranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives 3 values per text"):
        async with open_reranking(settings(make_reranker(tmp_path, labels=3))):
            pass


async def test_every_text_gets_a_score_and_the_best_come_first(tmp_path: Path) -> None:
    texts = ["cat", "dog", "tax law", "cat dog " * 40, *["law"] * 20]
    sources = [Source(f"s{n}", "d", "u", "t", text, 0.0) for n, text in enumerate(texts)]
    async with open_reranking(settings(make_reranker(tmp_path))) as reranking:
        assert reranking is not None
        best, note = await reranking.best("cat", sources, len(sources))
        again, _ = await reranking.best("cat", sources, 3)
    assert note is None
    assert {source.id for source in best} == {source.id for source in sources}
    scores = [source.score for source in best]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert [source.id for source in again] == [source.id for source in best[:3]]


async def test_questions_that_come_together_share_batches_and_keep_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragents.rag.rerank.cross_encoder import CrossEncoderReranker

    reranker = CrossEncoderReranker.load(settings(make_reranker(tmp_path)))
    batches: list[int] = []
    predict = reranker._encoder.predict

    def counted(pairs: list[tuple[str, str]], **options: object) -> object:
        batches.append(len(pairs))
        return predict(pairs, **options)

    monkeypatch.setattr(reranker._encoder, "predict", counted)
    questions = ["cat", "dog", "tax law", "law"]
    texts = ["cat", "dog law", "tax"]
    together = await asyncio.gather(*(reranker.rerank(question, texts) for question in questions))
    assert batches == [12]
    for question, scores in zip(questions, together, strict=True):
        assert await reranker.rerank(question, texts) == pytest.approx(scores, abs=1e-5)
    await reranker.close()


async def test_a_model_that_fails_leaves_the_ranking_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ragents.rag.rerank.cross_encoder import CrossEncoderReranker

    reranker = CrossEncoderReranker.load(settings(make_reranker(tmp_path)))

    def broken(pairs: object, **options: object) -> object:
        raise MemoryError

    monkeypatch.setattr(reranker._encoder, "predict", broken)
    with pytest.raises(RerankerUnavailable, match="MemoryError"):
        await reranker.rerank("cat", ["dog"])
    await reranker.close()
