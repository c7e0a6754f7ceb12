"""The MLX backend (mlx-embeddings): Apple's processors; on Linux it runs on the CPU, slowly."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragents.embeddings.local import CPU_BATCH_TOKENS, Tokenized
from ragents.embeddings.model_folder import Kind, ModelFolder, read_model_folder
from ragents.embeddings.pooling import pool, unit
from ragents.embeddings.tokenizing import FolderTokenizer
from ragents.embeddings.types import Vectors
from ragents.embeddings.weights import find_checked_model
from ragents.errors import ConfigError, MissingExtra

try:
    import mlx.core as mx
    from mlx_embeddings.utils import get_model_path, load_model
except ImportError as error:
    raise MissingExtra("mlx-embeddings", extra="mlx") from error

GPU_BATCH_TOKENS = 16_384
"""A graphics processor is idle on batches of the size that suits a CPU."""


class MlxEncoder:
    """Made by `load`."""

    def __init__(self, folder: ModelFolder, model: Any) -> None:
        self._folder, self._model, self._tokenizer = folder, model, FolderTokenizer(folder.path, folder.prompts)
        self._lock = threading.Lock()
        self.max_tokens = folder.max_tokens
        self.batch_tokens = CPU_BATCH_TOKENS if mx.default_device().type == mx.DeviceType.cpu else GPU_BATCH_TOKENS
        self.dimension = int(self.encode(self.tokenize(["warm up"], "query"), "query").shape[1])

    @classmethod
    def load(cls, *, model: str) -> "MlxEncoder":
        """From the local folder when there is one, else from the hub. ConfigError when neither has a usable model."""
        path = find_checked_model(model)
        try:
            path = path or Path(get_model_path(model))
            return cls(read_model_folder(path), load_model(path, path_to_repo=model))
        except ConfigError:
            raise
        except Exception as error:  # the hub, mlx and mlx-embeddings raise classes that share no other base
            raise ConfigError(f"rag.embedding_model = {model!r}: it cannot be loaded: {error}") from error

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        return self._tokenizer.tokenize(texts, kind)

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        shape = len(batch), max(len(each.ids) for each in batch)
        tokens, mask = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for row, each in enumerate(batch):
            tokens[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
        with self._lock:
            found = self._model(mx.array(tokens), attention_mask=mx.array(mask))
            # The library's own pooling is the architecture's; the folder says which one this model was trained with.
            states = np.asarray(found.last_hidden_state.astype(mx.float32))
        return unit(pool(states, mask.astype(np.int64), self._folder.pooling))
