"""The sentence-transformers backend (torch): cpu, cuda, mps; local models and those of the hub."""

import copy
import threading
from collections.abc import Sequence

import numpy as np

from ragents.embeddings.local import CPU_BATCH_TOKENS, Tokenized
from ragents.embeddings.model_folder import DEFAULT_MAX_TOKENS, Kind, choose_prompts
from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.embeddings.weights import find_checked_model
from ragents.errors import ConfigError, MissingExtra

try:
    import torch
    from sentence_transformers import SentenceTransformer
except ImportError as error:
    raise MissingExtra("sentence-transformers", extra="torch") from error

GPU_BATCH_TOKENS = 16_384
"""A graphics processor is idle on batches of the size that suits a CPU."""


class TorchEncoder:
    """Made by `load`."""

    def __init__(self, encoder: SentenceTransformer) -> None:
        self._encoder = encoder
        # A fast tokenizer is changed by each call that wants it to cut or pad otherwise, and fails ("Already
        # borrowed") or cuts what is being counted when another thread is in it. So texts are counted by a copy.
        self._tokenizer = copy.deepcopy(encoder.tokenizer)
        self._lock = threading.Lock()
        self._prompts = choose_prompts(encoder.prompts)
        self.dimension = int(encoder.get_embedding_dimension())
        self.max_tokens = int(encoder.max_seq_length or DEFAULT_MAX_TOKENS)
        self.tokenize(["first use"], "query")  # sets the copy to whole texts; from now on its calls only read
        self.batch_tokens = CPU_BATCH_TOKENS if encoder.device.type == "cpu" else GPU_BATCH_TOKENS

    @classmethod
    def load(cls, config: EmbeddingConfig, *, model: str) -> "TorchEncoder":
        """From the local folder when there is one, else from the hub. ConfigError when neither has a usable model.

        Weights are read as safetensors only (a pickle could run code), and no code of a model's author runs.
        """
        source = str(find_checked_model(model) or model)
        if config.threads:
            torch.set_num_threads(config.threads)
        try:
            return cls(
                SentenceTransformer(
                    source, device=config.device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
                )
            )
        except Exception as error:  # hub, torch and transformers raise classes that share no other base
            raise ConfigError(f"rag.embedding_model = {model!r}: {source} cannot be loaded: {error}") from error

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        if not texts:
            return []
        prompt = self._prompts[kind]
        # verbose: its warning that a text is too long is our error.
        found = self._tokenizer([prompt + text for text in texts], truncation=False, padding=False, verbose=False)[
            "input_ids"
        ]
        return [Tokenized(text, ids) for text, ids in zip(texts, found, strict=True)]

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        with self._lock:
            vectors = self._encoder.encode(
                [each.text for each in batch],
                prompt=self._prompts[kind],
                batch_size=len(batch),
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, np.float32)
