"""The second look: a sentence that has the question's words together moves its passage up."""

import pytest

from ragents.rag.nearness import LOOKED_AT, TOGETHER, by_nearness
from ragents.rag.types import Source


def source(text: str, score: float = 0.9, *, name: str = "a") -> Source:
    return Source(id=name, document_id=name, uri=f"{name}.md", title="", text=text, score=score)


def order(question: str, *sources: Source) -> list[str]:
    return [each.id for each in by_nearness(question, sources)]


def test_nothing_found_stays_nothing() -> None:
    assert by_nearness("Which port?", []) == ()


@pytest.mark.parametrize("question", ["And what is it?", "?", "Quel port?"])
def test_a_question_that_no_sentence_shares_keeps_the_order(question: str) -> None:
    found = [source("The cat is here.", 0.9), source("The dog is there.", 0.5, name="b")]
    assert order(question, *found) == ["a", "b"]


def test_words_in_one_sentence_are_worth_more_than_the_same_words_apart() -> None:
    apart = source("A lock is taken by the job. It is set in another queue. Whatever else is said of priority.")
    together = source("Jobs with a lock run by priority in their queue. Other text is here.", 0.85, name="b")
    assert order("Does the queue run a lock by priority?", apart, together) == ["b", "a"]


def test_words_side_by_side_as_in_the_question_are_worth_more() -> None:
    crossed = source("A limit of the disk and the rate of reading.")
    asked = source("The rate limit of the disk is a number.", 0.88, name="b")
    assert order("What is the rate limit?", crossed, asked) == ["b", "a"]


def test_a_name_of_code_is_read_by_its_words() -> None:
    other = source("The server has a place for everything.")
    named = source("Set MCP_PORT to what you like.", 0.8, name="b")
    assert order("What is the port of MCP?", other, named) == ["b", "a"]


def test_a_passage_without_a_sentence_is_read_whole() -> None:
    assert order("Which port?", source("two words"), source("Port 1417", 0.8, name="b")) == ["b", "a"]


def test_of_a_long_question_a_sentence_counts_for_less() -> None:
    text = "The lock of a queue is held by priority."
    gains = []
    for question in ("Is the lock held?", "Is the lock held while seven other workers wait elsewhere patiently today?"):
        (found,) = by_nearness(question, [source(text, 0.5)])
        gains.append(found.score * (1 + TOGETHER) - 0.5)
    assert gains[0] > 0.7 * TOGETHER
    assert gains[1] < 0.3 * gains[0]


def test_what_lies_behind_the_best_is_not_looked_at_and_scores_stay_in_order_between_0_and_1() -> None:
    found = [source("Nothing to see here.", 1 - n / 20, name=str(n)) for n in range(LOOKED_AT)]
    found += [source("The port is 1417.", 0.4, name="behind"), source("The port is 1418.", 0.3, name="last")]
    again = by_nearness("Which port?", found)
    assert [each.id for each in again] == [each.id for each in found]
    scores = [each.score for each in again]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1
