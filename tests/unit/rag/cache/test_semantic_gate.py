"""The gate of the semantic cache, on pairs of questions that were written before it."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragents.rag.cache.semantic import judge, may_share
from ragents.rag.cache.semantic.gate import THRESHOLD

PAIRS = Path(__file__).parents[3] / "data" / "polarity"
HALVES = ["tuning", "held-out"]


def pairs(label: str, half: str) -> list[tuple[str, str]]:
    lines = (PAIRS / f"{label}.{half}-by-sha256.jsonl").read_text(encoding="utf-8").splitlines()
    return [(pair["first"], pair["second"]) for pair in map(json.loads, lines)]


@pytest.mark.parametrize("label", ["different", "same"])
@pytest.mark.parametrize("half", HALVES)
def test_a_pair_is_in_the_half_that_its_hash_says(label: str, half: str) -> None:
    for first, second in pairs(label, half):
        even = int(hashlib.sha256(f"{first}\n{second}".encode()).hexdigest(), 16) % 2 == 0
        assert even is (half == "tuning"), first


def test_the_set_is_as_large_as_it_is_said_to_be() -> None:
    assert [sum(len(pairs(label, half)) for half in HALVES) for label in ("different", "same")] == [411, 226]


@pytest.mark.parametrize("half", HALVES)
def test_no_pair_that_differs_shares_an_answer_however_near_and_in_either_order(half: str) -> None:
    shared = [pair for pair in pairs("different", half) if may_share(*pair, 1.0) or may_share(*pair[::-1], 1.0)]
    assert shared == []


@pytest.mark.parametrize("half", HALVES)
def test_half_of_the_paraphrases_share_an_answer_in_either_order(half: str) -> None:
    same = pairs("same", half)
    assert all(may_share(a, b, 1.0) == may_share(b, a, 1.0) for a, b in same)
    assert sum(may_share(a, b, 1.0) for a, b in same) >= len(same) / 2


@pytest.mark.parametrize(
    ("question", "stored", "reason"),
    [
        ("How do I enable the lock?", "How do I set up a proxy?", "words"),
        ("What is open today?", "What is open today?", "moment"),
        ("Who signed it?", "When was it signed?", "asked"),
        ("Who is the owner?", "Who was the owner?", "tense"),
        ("Why does it not start?", "Why does it start?", "negation"),
        ("What is error 404?", "What is error 403?", "numbers"),
        ("Where is Paris?", "Where is Rome?", "names"),
        ("Who spoke before Anna?", "Who spoke after Anna?", "direction"),
        ("Does Anna pay Ben?", "Does Ben pay Anna?", "order"),
        ("What is the limit?", "What's the limit?", "same"),
    ],
)
def test_the_verdict_names_what_keeps_them_apart(question: str, stored: str, reason: str) -> None:
    assert judge(question, stored, 1.0).reason == reason


def test_below_the_threshold_not_even_the_same_words_share() -> None:
    assert judge("What is the limit?", "What is the limit?", THRESHOLD - 0.001).reason == "similarity"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How do you store my data?", "How do I store my data?"),
        ("What is the number of users?", "What is the user number?"),
        ("What is a deadline?", "What is the deadline?"),
        ("How do I re-sign the contract?", "How do I resign the contract?"),
        ("How big is a 4 Mb file?", "How big is a 4 MB file?"),
        ("Who is Adams?", "Who is Adam?"),
        ("What is a green house?", "What is a greenhouse?"),
        ("How do I see the most data?", "How do I see most data?"),
        ("What are the minutes of the meeting?", "What is the minute of the meeting?"),
        ("what is turkey?", "What is Turkey?"),
        ("What is the former name of the company?", "What is the name of the former company?"),
        ("Is hepatitis a dangerous?", "Is hepatitis dangerous?"),
        ("How do I say thanks?", "How do I say please?"),
        ("Are a few species extinct?", "Are few species extinct?"),
        ("Is C++ compiled?", "Is C# compiled?"),
        ("What does the flag -v do?", "What does the flag v do?"),
        ("Can I choose to not pay?", "Can I not choose to pay?"),
        ("Wie schalte ich das Licht an?", "Wie schalte ich das Licht aus?"),
        ("Comment activer le filtre ?", "Comment ne pas activer le filtre ?"),
        ("如何启用防火墙", "如何禁用防火墙"),
        ("", ""),
        ("the", "a"),
        ("?!", "..."),
    ],
)
def test_what_a_reader_of_words_alone_would_take_for_one_is_kept_apart(first: str, second: str) -> None:
    assert not may_share(first, second, 1.0)


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_gate_says_the_same_in_either_order(first: str, second: str) -> None:
    assert judge(first, second, 1.0) == judge(second, first, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "^" * 50,
        "a" * 5_000,
        "x" + ", thanks!!!!!!!!!" * 30 + "y",
        "hi " * 500 + "!",
        "a was bed by " * 50,
        "'s 's",
        "of of of",
        "who is of",
        "\x00\ud800",
        "١٢ ½ Ⅷ",
    ],
)
def test_no_text_breaks_the_gate(text: str) -> None:
    assert judge(text, text, 1.0).reason in ("same", "words")
