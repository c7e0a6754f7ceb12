"""The tokenizer of a model's folder: whole texts, never cut."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ragents.embeddings.local import Tokenized
from ragents.embeddings.model_folder import Kind
from ragents.errors import ConfigError


class FolderTokenizer:
    """Safe to call from several threads at once."""

    def __init__(self, path: Path, prompts: dict[Kind, str]) -> None:
        """ConfigError when its tokenizer.json cannot be used."""
        self._prompts = prompts
        try:
            self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigError(f"{path / 'tokenizer.json'} cannot be loaded: {error}") from error
        # The file says to cut and to pad at 128 tokens: texts are counted whole here, and padded per batch.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        prompt = self._prompts[kind]
        encodings = self._tokenizer.encode_batch([prompt + text for text in texts])
        return [Tokenized(text, encoding.ids) for text, encoding in zip(texts, encodings, strict=True)]
