"""The embedded model answers with the passages' own sentences."""

from collections.abc import Sequence

import numpy as np
import pytest
from langchain_core.messages import HumanMessage

from ragents.embeddings.types import Vectors
from ragents.errors import TextTooLong
from ragents.llm.excerpts import MAX_SENTENCES
from ragents.llm.extractive import ExtractiveChatModel
from ragents.llm.passages import Passage, question_message
from ragents.llm.sentences import split_sentences

seen: list[int] = []


async def embed(texts: Sequence[str]) -> Vectors:
    """Similar when they share the word "cat"."""
    seen.append(len(texts))
    return np.array([[1.0, 0.0] if "cat" in text else [0.0, 1.0] for text in texts], dtype=np.float32)


async def answer(question: str, *passages: Passage) -> str:
    message = await ExtractiveChatModel(embed=embed).ainvoke([question_message(question, passages)])
    return str(message.content)


async def test_it_picks_the_nearest_sentence_and_cites_its_passage() -> None:
    found = await answer(
        "Where is the cat?",
        Passage(1, "The dog is in the yard. Nobody knows more."),
        Passage(2, "It rained. The cat sits on the mat. The end has come."),
    )
    assert found == "The cat sits on the mat. [2]"


async def test_a_passage_without_sentences_is_quoted_whole() -> None:
    assert await answer("cat?", Passage(1, "feline")) == "feline [1]"


async def test_no_passages_give_an_empty_answer() -> None:
    assert await answer("cat?") == ""


async def test_a_message_without_passages_gives_an_empty_answer() -> None:
    message = await ExtractiveChatModel(embed=embed).ainvoke([HumanMessage("hello")])
    assert message.content == ""


async def test_the_number_of_embedded_sentences_is_bounded() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(500))
    await answer("Which sentence?", Passage(1, text))
    assert seen[-1] <= MAX_SENTENCES + 1


async def test_a_sentence_in_two_passages_is_taken_once() -> None:
    both = "The cat sits on the mat."
    assert (await answer("cat?", Passage(1, both), Passage(2, both))).count("mat") == 1


async def test_what_is_longer_than_the_encoder_takes_is_compared_by_its_beginning() -> None:
    async def embed_ten_words(texts: Sequence[str]) -> Vectors:
        for index, text in enumerate(texts):
            if (words := len(text.split())) > 10:
                raise TextTooLong(tokens=words, max_tokens=10, index=index)
        return await embed(texts)

    model = ExtractiveChatModel(embed=embed_ten_words)
    long = "Where is the cat that " + "never " * 50 + "came home?"
    passage = Passage(1, "The dog is out.\n\nThe cat sits " + "very " * 50 + "still.\n\nIt rained on.")
    found = str((await model.ainvoke([question_message(long, [passage])])).content)
    assert found.startswith("The cat sits very")


def test_the_synchronous_call_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="ainvoke"):
        ExtractiveChatModel(embed=embed).invoke([HumanMessage("x")])


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("# Only a heading", []),
        (
            "# Acme plans\nThe launch day is the 4th of May.\nIt is secret.",
            ["The launch day is the 4th of May.", "It is secret."],
        ),
        ("Leave of staff\n=====\nStaff have 30 days. They ask early.", ["Staff have 30 days.", "They ask early."]),
        ("Sick leave now\n---\nCall your manager first.", ["Call your manager first."]),
        ("| a day | b day |\n|---|---|\n| one day | two days |", ["| a day | b day |", "| one day | two days |"]),
        ("One two three. Four five six!", ["One two three.", "Four five six!"]),
        (
            "The director is Dr. Anna Berg of Ernst & Co. KG. The lease of hall No. 7 ends soon (see Fig. 3).",
            ["The director is Dr. Anna Berg of Ernst & Co. KG.", "The lease of hall No. 7 ends soon (see Fig. 3)."],
        ),
        ("| Ceramic cells, see vol. 3 | L. Meier | 30 June |", ["| Ceramic cells, see vol. 3 | L. Meier | 30 June |"]),
        (
            "He came at 5 p.m. Then they left. Ask\nMr. Kranz or\nDr. Weiss.\n\nMs. Ott may know.",
            [
                "He came at 5 p.m.",
                "Then they left.",
                "Ask Mr. Kranz or Dr. Weiss.",
                "Ms. Ott may know.",
            ],
        ),
        (
            "Whom to ask: Dr.\n\n- first item here etc.\n- second item here",
            [
                "Whom to ask: Dr.",
                "first item here etc.",
                "second item here",
            ],
        ),
        (
            "To order a part do this:\n\n1. Find the number in the catalogue.\n2. Ask the keeper, ext. 12.\n3. Wait.",
            ["To order a part do this:", "Find the number in the catalogue.", "Ask the keeper, ext. 12."],
        ),
        (
            "2. Enter the code, vgl. Nr. 5.\n10. Turn the key twice.",
            ["Enter the code, vgl. Nr. 5.", "Turn the key twice."],
        ),
        (
            "The default is 20. It holds for each. [1] Say no more.",
            [
                "The default is 20.",
                "It holds for each.",
                "[1] Say no more.",
            ],
        ),
        ("Version 1.4.39 is out. It costs 3.5 dollars now.", ["Version 1.4.39 is out.", "It costs 3.5 dollars now."]),
        ("- first item here\n- second item here", ["first item here", "second item here"]),
        (
            "Of the kinds **connect**,\n**read** and\n-1 or\n2.5 it is wrapped.",
            ["Of the kinds **connect**, **read** and -1 or 2.5 it is wrapped."],
        ),
        (
            "A line that\nwraps in the middle.\n\nA new paragraph here",
            ["A line that wraps in the middle.", "A new paragraph here"],
        ),
    ],
)
def test_sentences_of_markdown(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
