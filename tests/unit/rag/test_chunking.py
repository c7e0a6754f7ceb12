"""Chunks are true to their text, within their limits, and know where they stand."""

import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragents.embeddings.hashing import HashingEmbedder
from ragents.embeddings.types import Vectors
from ragents.rag.chunking import Chunker, extracted_text
from ragents.rag.chunking.cutting import by_structure, by_window
from ragents.rag.chunking.semantic import by_meaning
from ragents.rag.types import Chunk, TextBlock

COUNT = HashingEmbedder().count_tokens


def cut(*blocks: TextBlock, size: int = 200, overlap: int = 40, max_tokens: int = 256) -> list[Chunk]:
    return list(Chunker(by_structure(size, overlap), COUNT, max_tokens).split(blocks))


texts = st.text(
    alphabet=st.one_of(st.sampled_from("ab .\n#-`|*\t"), st.characters(blacklist_categories=["Cs"])), max_size=600
)


def topics(texts: Sequence[str]) -> Vectors:
    """Two subjects: what begins with A, and the rest."""
    return np.array([[1, 0] if text.lstrip().startswith("A") else [0, 1] for text in texts], np.float32)


WAYS = {
    "structure": by_structure,
    "window": by_window,
    "semantic": lambda size, _: by_meaning(size, topics),
}


@settings(deadline=None)
@given(st.sampled_from(sorted(WAYS)), st.lists(texts, min_size=1, max_size=4), st.integers(20, 300), st.integers(3, 60))
def test_every_way_gives_slices_within_the_limits_and_loses_nothing(
    way: str, contents: list[str], size: int, tokens: int
) -> None:
    check(contents, Chunker(WAYS[way](size, size // 5), COUNT, tokens), size=size, tokens=tokens)


def test_meaning_cuts_where_the_subject_changes_and_nowhere_else() -> None:
    one, other = "All about apples and their many uses. " * 3, "Bees fly over the meadow in the morning. " * 3
    text = "\n\n".join([one, one, other, other])
    chunks = list(Chunker(by_meaning(1000, topics), COUNT, 256).split([TextBlock(text)]))
    assert [chunk.text.count("apples") > 0 for chunk in chunks] == [True, False]
    assert all("apples" not in chunk.text or "Bees" not in chunk.text for chunk in chunks)


def test_a_window_does_not_end_at_a_heading_and_structure_does() -> None:
    text = "# One\n\nShort text here.\n\n# Two\n\nMore text there.\n"
    window = list(Chunker(by_window(1000, 0), COUNT, 256).split([TextBlock(text * 3)]))
    assert len(window) == 1
    structure = list(Chunker(by_structure(30, 0), COUNT, 256).split([TextBlock(text)]))
    assert [chunk.text.split()[1] for chunk in structure] == ["One", "Two"]


def test_what_fits_is_not_cut() -> None:
    text = "# One\n\nShort text here.\n\n# Two\n\nMore text there.\n"
    assert [chunk.text for chunk in cut(TextBlock(text), size=len(text), overlap=0)] == [text.rstrip()]


def test_nothing_is_repeated_between_paragraphs() -> None:
    paragraph = "One two three. " * 5
    chunks = cut(TextBlock("\n\n".join([paragraph.strip()] * 6)), size=100, overlap=30)
    assert all(a.end <= b.start for a, b in pairwise(chunks))


def test_prose_with_hardly_a_heading_is_cut_by_its_paragraphs() -> None:
    prose = "# Title\n\n" + "\n".join(f"Paragraph {n} tells something. And it goes on for a while." for n in range(400))
    chunks = cut(TextBlock(prose), size=300, overlap=0)
    assert all(chunk.text.startswith(("Paragraph", "# Title")) for chunk in chunks)


def check(contents: list[str], chunker: Chunker, *, size: int, tokens: int) -> None:
    blocks = [TextBlock(text, page=n + 1) for n, text in enumerate(contents)]
    whole = extracted_text(blocks)
    covered = [False] * len(whole)
    for position, chunk in enumerate(chunker.split(blocks)):
        assert chunk.position == position
        assert chunk.text == whole[chunk.start : chunk.end]
        assert 0 < len(chunk.text) <= size
        assert COUNT([chunk.text])[0] <= tokens
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    assert all(seen or not character.strip() for seen, character in zip(covered, whole, strict=True))


def test_a_splitter_that_overshoots_is_corrected() -> None:
    assert [chunk.text for chunk in cut(TextBlock("0:0"), size=20, overlap=4, max_tokens=3)] == ["0", ":0"]


def test_a_chunk_knows_its_page() -> None:
    chunks = cut(TextBlock("first page " * 30, 1), TextBlock("second page " * 30, 2))
    assert {chunk.page for chunk in chunks if "second" in chunk.text} == {2}
    assert {chunk.page for chunk in chunks if "first" in chunk.text} == {1}


def test_headings_form_a_path_and_end_where_a_higher_one_begins() -> None:
    text = "# A\n\nunder a\n\n## B\n\nunder b\n\n### C\n\nunder c\n\n## D\n\nunder d\n\nE\n=\n\nunder e\n"
    paths = {chunk.text.split()[-1]: chunk.headings for chunk in cut(TextBlock(text), size=20, overlap=0)}
    assert paths["a"] == ("A",)
    assert paths["b"] == ("A", "B")
    assert paths["c"] == ("A", "B", "C")
    assert paths["d"] == ("A", "D")
    assert paths["e"] == ("E",)


def test_a_chunk_that_begins_with_a_heading_stands_under_it() -> None:
    chunks = cut(TextBlock("# Top\n\n## Sub\n\nThe text of it.\n"))
    assert chunks[0].headings == ("Top", "Sub")


def test_a_hash_inside_a_code_fence_is_no_heading() -> None:
    chunks = cut(TextBlock("# Real\n\n```sh\n# a comment\nls\n```\n\nafter\n"), size=30, overlap=0)
    assert {chunk.headings for chunk in chunks} == {("Real",)}


def test_headings_go_on_over_pages() -> None:
    chunks = cut(TextBlock("# Chapter\n\ntext here", 1), TextBlock("more text", 2))
    assert chunks[-1].headings == ("Chapter",)


def test_overlap_repeats_the_end_of_the_chunk_before() -> None:
    chunks = cut(TextBlock("One two three. " * 50), size=100, overlap=30)
    sentence = len("One two three. ")
    assert all(b.start < a.end or len(b.text) + sentence > 100 for a, b in pairwise(chunks))
    assert any(b.start < a.end for a, b in pairwise(chunks))


@pytest.mark.parametrize("text", ["", " \n\t ", "\n\n\n"])
def test_blank_text_gives_no_chunks(text: str) -> None:
    assert cut(TextBlock(text)) == []


@pytest.mark.parametrize(
    "text", ["x" * 2_000_000, "word " * 400_000, "| a " * 300_000, "#" * 500_000, "> " * 300_000, "end" + "\n" * 90_000]
)
def test_a_huge_line_is_cut_in_bounded_time(text: str) -> None:
    started = time.thread_time()
    chunks = cut(TextBlock(text), size=1000, overlap=200)
    assert time.thread_time() - started < 20
    assert max(len(chunk.text) for chunk in chunks) <= 1000
