"""Test collections are read strictly, and scores are those of the library that the field counts with."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from ragents.errors import InputError
from ragents.evaluation import Asked, evaluate_answers, measure, read_dataset, read_questions
from ragents.evaluation.answers import normalised, token_f1
from ragents.rag.types import Citation, RAGResponse, Source


def beir(directory: Path, **files: str) -> Path:
    """A small BEIR folder; `files` replaces what a part holds: corpus, queries, qrels."""
    parts = {
        "corpus": '{"_id": "d1", "title": "Sky", "text": "It is blue."}\n{"_id": "d2", "title": "", "text": "x"}\n',
        "queries": '{"_id": "q1", "text": "What is blue?"}\n{"_id": "q2", "text": "not judged"}\n',
        "qrels": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
    } | files
    (directory / "qrels").mkdir()
    (directory / "corpus.jsonl").write_text(parts["corpus"])
    (directory / "queries.jsonl").write_text(parts["queries"])
    (directory / "qrels" / "test.tsv").write_text(parts["qrels"])
    return directory


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"queries": '{"_id": "q1"}\n'}, "queries.jsonl, line 1: the field 'text'"),
        ({"queries": '{"_id": "q1", "text": "x"}\n{broken\n'}, "queries.jsonl, line 2: not JSON"),
        ({"queries": "[]\n"}, "queries.jsonl, line 1: a JSON list"),
        ({"queries": '{"_id": "q9", "text": "x"}\n'}, "query 'q1' is not in queries.jsonl"),
        ({"qrels": "q1\td1\t1\nq1 d2 1\n"}, "test.tsv, line 2"),
        ({"qrels": "q1\td1\tmuch\n" * 2}, "test.tsv, line 2"),
        ({"qrels": "q1\td1\t0\n"}, "judges no document"),
    ],
)
def test_a_file_that_is_not_as_beir_has_it_is_named_with_its_line(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read_dataset(beir(tmp_path, **files))


def test_a_split_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="splits that are there: test"):
        read_dataset(beir(tmp_path), split="dev")
    with pytest.raises(InputError, match="corpus.jsonl is missing"):
        read_dataset(tmp_path / "nowhere")


def test_queries_without_a_judgement_are_left_out(tmp_path: Path) -> None:
    dataset = read_dataset(beir(tmp_path))
    assert dataset.queries == {"q1": "What is blue?"}
    assert dataset.judged == {"q1": {"d1": 2}}


async def test_a_document_counts_with_its_best_chunk(tmp_path: Path) -> None:
    dataset = read_dataset(beir(tmp_path, qrels="q1\td1\t1\nq2\td2\t1\n"))

    async def search(text: str) -> Sequence[tuple[str, float]]:
        if text == "not judged":
            return []
        return [("d3", 0.9), ("d3", 0.8), ("d3", 0.7), ("d1", 0.6), ("d1", 0.1)]

    scores = await measure(dataset, search)
    assert scores.mrr == pytest.approx((1 / 2 + 0) / 2), "the second of two documents; the other query found nothing"
    assert scores.recall == pytest.approx(0.5)
    assert scores.ndcg == pytest.approx(0.6309 / 2, abs=1e-4)


SOURCE = Source("s1", "d1", "sky.md", "Sky", "The sky is  blue.\nThe sea too.", 1.0)


async def ask(question: str) -> RAGResponse:
    answers = {
        "right": ("The sky is blue. [1]", (Citation(1, "s1", "The sky is blue."),)),
        "forged": ("It is green. [1]", (Citation(1, "s1", "It is green."),)),
        "unknown": ("It is blue. [2]", (Citation(2, "s9", "The sky is blue."),)),
        "declined": ("The documents do not tell.", ()),
    }
    answer, citations = answers[question]
    return RAGResponse(question, (SOURCE,), answer=answer, citations=citations)


async def test_citations_hold_when_their_source_was_retrieved_and_says_it() -> None:
    questions = [Asked(name, ("the sky is blue",)) for name in ("right", "forged", "unknown")]
    report = await evaluate_answers(questions, ask)
    assert report.citations_valid == pytest.approx(1 / 3)
    assert report.exact_match == pytest.approx(1 / 3)
    assert report.contains == pytest.approx(1 / 3)
    assert report.declined_rightly is None


async def test_declining_is_right_only_where_there_is_no_answer() -> None:
    report = await evaluate_answers([Asked("declined", ()), Asked("right", ()), Asked("declined", ("blue",))], ask)
    assert (report.declined_rightly, report.declined_wrongly) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("told", "answer", "f1"),
    [("The blue sky!", "a blue sky", 1.0), ("blue", "red", 0.0), ("", "", 1.0), ("blue sky today", "blue sky", 0.8)],
)
def test_words_are_compared_as_squad_does(told: str, answer: str, f1: float) -> None:
    assert token_f1(told, answer) == pytest.approx(f1)
    assert normalised("The  Sky, a blue-ish one.") == "sky blueish one"


@pytest.mark.parametrize(
    "line", ['{"question": "q"}', '{"question": "", "answers": []}', '{"question": "q", "answers": [5]}', "x"]
)
def test_a_question_that_is_none_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": "q", "answers": []}) + "\n" + line + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_questions(file)
