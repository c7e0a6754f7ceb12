"""Tokens and prompts of a model that runs elsewhere: from its folder, where that is on this machine."""

from collections.abc import Sequence
from typing import Protocol

from ragents.embeddings.model_folder import Kind, choose_prompts, read_json, read_max_tokens
from ragents.embeddings.types import EmbeddingConfig
from ragents.embeddings.weights import find_model
from ragents.errors import ConfigError

SPECIAL_TOKENS = 2


class TokenCounter(Protocol):
    """`exact`: whether a count beyond the limit proves that a text is too long. `max_tokens`: None where not known."""

    exact: bool
    max_tokens: int | None

    def count(self, texts: Sequence[str], kind: Kind) -> list[int]:
        """Special tokens and the prompt included."""
        ...


class FolderCounter:
    """Counts with the model's own tokenizer."""

    exact = True

    def __init__(self, config: EmbeddingConfig, *, model: str) -> None:
        # Imported here: a server that counts by bytes needs no tokenizer.
        from ragents.embeddings.tokenizing import FolderTokenizer  # noqa: PLC0415

        path = find_model(model)
        self.max_tokens: int | None = read_max_tokens(path)
        self._tokenizer = FolderTokenizer(path, find_prompts(config, model=model))

    def count(self, texts: Sequence[str], kind: Kind) -> list[int]:
        return [len(each.ids) for each in self._tokenizer.tokenize(texts, kind)] if texts else []


class ByteCounter:
    """A bound: WordPiece, byte-level BPE and SentencePiece with byte fallback give at most one token per UTF-8 byte."""

    exact = False
    max_tokens: int | None = None

    def __init__(self, prompts: dict[Kind, str]) -> None:
        self._prompts = prompts

    def count(self, texts: Sequence[str], kind: Kind) -> list[int]:
        more = SPECIAL_TOKENS + len(self._prompts[kind].encode())
        return [len(text.encode()) + more for text in texts]


def find_counter(config: EmbeddingConfig, *, model: str) -> TokenCounter:
    try:
        find_model(model)
    except ConfigError:
        return ByteCounter(find_prompts(config, model=model))
    return FolderCounter(config, model=model)


def find_prompts(config: EmbeddingConfig, *, model: str) -> dict[Kind, str]:
    """The settings', else those of the model's folder, else none."""
    try:
        named = read_json(find_model(model) / "config_sentence_transformers.json").get("prompts") or {}
    except ConfigError:
        named = {}
    found = choose_prompts(named)
    given: dict[Kind, str | None] = {"query": config.query_prompt, "document": config.document_prompt}
    return {kind: found[kind] if prompt is None else prompt for kind, prompt in given.items()}
