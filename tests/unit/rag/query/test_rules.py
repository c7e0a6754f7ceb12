"""The rules that make other wordings of a question, and its parts."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragents.rag.query.rules import parts, wordings


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("", []),
        ("?!", []),
        ("vitamin", []),
        ("x" * 2_000, []),
        ("Where does adaptive batching sit?", ["adaptive batching sit"]),
        (
            "Can you tell me what the retry policy of the queue is?",
            ["the retry policy of the queue is", "retry policy queue"],
        ),
        ("Is the store encrypted at rest?", ["the store encrypted at rest", "store encrypted rest"]),
        ("Statins lower the risk of stroke.", ["statins lower risk stroke"]),
    ],
)
def test_wordings_are_the_statement_and_the_bare_words(question: str, expected: list[str]) -> None:
    assert wordings(question, 3) == expected


@pytest.mark.parametrize(
    "question",
    [
        "",
        "Where does adaptive batching sit?",
        "What are the terms and conditions?",
        "Who is and was here?",
        "How do salt and pepper differ?",
        "between and",
        "vs",
        "y" * 2_000,
    ],
)
def test_a_question_that_asks_one_thing_has_no_parts(question: str) -> None:
    assert parts(question, 3) == []


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "Where is the cache kept and how long do its entries live?",
            ["Where is the cache kept", "how long do its entries live?"],
        ),
        ("What is a lease? Who renews the lease?", ["What is a lease", "Who renews the lease?"][1:]),
        ("Compare the onnx backend with sentence transformers.", ["the onnx backend", "sentence transformers"]),
        ("What is the difference between a thread and a run?", ["a thread", "a run"]),
        ("Postgres vs. Redis for checkpoints", ["Postgres", "Redis for checkpoints"]),
    ],
)
def test_a_question_that_asks_several_things_is_taken_apart(question: str, expected: list[str]) -> None:
    found = parts(question, 3)
    if len(expected) > 1:
        assert found == expected
    else:
        assert found == []  # "a lease" alone is one word: the part would find anything


def test_no_more_than_asked_for() -> None:
    question = "Where is the cache kept and how long do entries live; which layer counts hits; who clears old entries?"
    assert len(parts(question, 8)) == 4
    assert len(parts(question, 2)) == 2


@given(st.text(max_size=300), st.integers(1, 8))
@example("0!\x85", 1)
def test_any_text_gives_few_different_queries_that_are_not_itself(text: str, count: int) -> None:
    for made in (wordings(text, count), parts(text, count)):
        assert len(made) <= count
        assert len({each.lower() for each in made}) == len(made)
        assert text.strip() not in made
        assert all(each.strip() for each in made)
