"""Chunking: blocks of text to chunks, in the way that `rag.chunking` names."""

from ragents.config.rag_config import RAGConfig
from ragents.rag.chunking.chunker import Chunker, CountTokens, extracted_text
from ragents.rag.chunking.cutting import by_structure, by_window
from ragents.rag.chunking.semantic import Embed, by_meaning

__all__ = ["Chunker", "CountTokens", "Embed", "create_chunker", "extracted_text"]


def create_chunker(config: RAGConfig, *, count_tokens: CountTokens, max_tokens: int, embed: Embed) -> Chunker:
    """`embed` is asked by semantic chunking only, from the thread that cuts."""
    match config.chunking:
        case "structure":
            cut = by_structure(config.chunk_size, config.chunk_overlap)
        case "window":
            cut = by_window(config.chunk_size, config.chunk_overlap)
        case "semantic":
            cut = by_meaning(config.chunk_size, embed)
    return Chunker(cut, count_tokens, max_tokens)
