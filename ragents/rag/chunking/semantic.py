"""Cutting where the subject changes: the segments whose sentences are most alike among themselves."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from semantic_text_splitter import TextSplitter

from ragents.embeddings.types import Vectors
from ragents.rag.chunking.chunker import Cut, Pieces

SENTENCES = 200
"""Characters of the pieces that are compared: one sentence, or some short ones."""

Embed = Callable[[Sequence[str]], Vectors]
"""Blocking; (len(texts), dimension), rows of length 1."""


def by_meaning(size: int, embed: Embed) -> Cut:
    """Chunks of at most `size` characters that keep together what is alike (after Smith and Troynikov 2024, "cluster").

    Every sentence is embedded to find the cuts, besides the chunks themselves: about twice the work of the encoder.
    """
    sentences = TextSplitter(min(SENTENCES, size))

    def cut(text: str) -> Pieces:
        pieces = sentences.chunk_indices(text)
        if len(pieces) < 2:
            return pieces
        spans = [(start, start + len(piece)) for start, piece in pieces]
        bounds = best_segments(embed([piece for _, piece in pieces]), spans, size=size)
        return [(spans[first][0], text[spans[first][0] : spans[last][1]]) for first, last in bounds]

    return cut


def best_segments(vectors: Vectors, spans: Sequence[tuple[int, int]], *, size: int) -> list[tuple[int, int]]:
    """(first, last) of runs of pieces, each at most `size` long, with the greatest sum of similarities above the mean.

    Dynamic programming over the ends of runs. `spans`: where each piece stands; (n, 2).
    """
    alike: NDArray[np.float64] = (vectors @ vectors.T).astype(np.float64)
    count = len(spans)
    pairs = alike[np.triu_indices(count, 1)]
    alike -= pairs.mean() if len(pairs) else 0.0
    np.fill_diagonal(alike, 0.0)
    # Sums of any square by four look-ups.
    sums = np.zeros((count + 1, count + 1))
    sums[1:, 1:] = alike.cumsum(0).cumsum(1)
    best, begins = np.zeros(count + 1), [0] * (count + 1)
    for end in range(1, count + 1):
        best[end] = -np.inf
        for begin in range(end - 1, -1, -1):
            if end - begin > 1 and spans[end - 1][1] - spans[begin][0] > size:
                break
            square = sums[end, end] - sums[begin, end] - sums[end, begin] + sums[begin, begin]
            if best[begin] + square > best[end]:
                best[end], begins[end] = best[begin] + square, begin
    bounds = []
    end = count
    while end:
        bounds.append((begins[end], end - 1))
        end = begins[end]
    return bounds[::-1]
