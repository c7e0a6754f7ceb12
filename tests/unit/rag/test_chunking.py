"""Chunks are true to their text, within their limits, and know where they stand."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragents.embeddings.hashing import HashingEmbedder
from ragents.rag.chunking import MarkdownChunker, extracted_text
from ragents.rag.types import Chunk, TextBlock

COUNT = HashingEmbedder().count_tokens


def cut(*blocks: TextBlock, size: int = 200, overlap: int = 40, max_tokens: int = 256) -> list[Chunk]:
    return list(MarkdownChunker(COUNT, max_tokens, size, overlap).split(blocks))


texts = st.text(
    alphabet=st.one_of(st.sampled_from("ab .\n#-`|*\t"), st.characters(blacklist_categories=["Cs"])), max_size=600
)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), st.integers(20, 300), st.integers(3, 60))
def test_chunks_are_slices_within_the_limits_and_nothing_is_lost(contents: list[str], size: int, tokens: int) -> None:
    blocks = [TextBlock(text, page=n + 1) for n, text in enumerate(contents)]
    whole = extracted_text(blocks)
    covered = [False] * len(whole)
    for position, chunk in enumerate(cut(*blocks, size=size, overlap=size // 5, max_tokens=tokens)):
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
    assert all(b.start < a.end for a, b in pairwise(chunks))


@pytest.mark.parametrize("text", ["", " \n\t ", "\n\n\n"])
def test_blank_text_gives_no_chunks(text: str) -> None:
    assert cut(TextBlock(text)) == []


@pytest.mark.parametrize(
    "text", ["x" * 2_000_000, "word " * 400_000, "| a " * 300_000, "#" * 500_000, "> " * 300_000, "end" + "\n" * 90_000]
)
def test_a_huge_line_is_cut_in_bounded_time(text: str) -> None:
    started = time.perf_counter()
    chunks = cut(TextBlock(text), size=1000, overlap=200)
    assert time.perf_counter() - started < 20
    assert max(len(chunk.text) for chunk in chunks) <= 1000
