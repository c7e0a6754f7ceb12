"""Confidence: what it grows with, and what it never exceeds."""

import pytest

from ragents.rag.confidence import confidence_of, coverage
from ragents.rag.types import Source


def source(text: str, similarity: float | None = 0.5, *, title: str = "") -> Source:
    return Source("s", "d", "u", title, text, 1.0, similarity=similarity)


def test_nothing_found_is_no_confidence() -> None:
    assert confidence_of("q", []) == 0.0
    assert confidence_of("q", [source("q", None)]) == 0.0


def test_it_grows_with_the_cosine_and_with_the_words_that_are_there() -> None:
    question = "What does status 429 mean for the queue?"
    words = ["unrelated text", "a status", "status 429", "status 429 means that the queue is full"]
    by_words = [confidence_of(question, [source(text)]) for text in words]
    assert by_words == sorted(by_words)
    assert len(set(by_words)) == len(words)
    by_cosine = [confidence_of(question, [source("x", cosine)]) for cosine in (-1.0, 0.0, 0.4, 0.8, 1.0)]
    assert by_cosine == sorted(by_cosine)
    assert all(0 < value < 1 for value in by_words + by_cosine)


@pytest.mark.parametrize("question", ["", "?", "is it the", "🙂"])
def test_a_question_without_content_words_covers_nothing(question: str) -> None:
    assert coverage(question, source("is it the 🙂")) == 0.0


def test_title_and_endings_count() -> None:
    assert coverage("Which caches are configured?", source("of all kinds", title="Configuring the cache")) == 1.0
