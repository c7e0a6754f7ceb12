"""From the states of tokens to unit vectors."""

import numpy as np
from numpy.typing import NDArray

from ragents.embeddings.model_folder import Pooling
from ragents.embeddings.types import Vectors

_TINY = np.float32(1e-12)


def pool(states: Vectors, mask: NDArray[np.int64], pooling: Pooling) -> Vectors:
    """Token states (batch, tokens, hidden), as a model's own ONNX file gives them, to (batch, hidden)."""
    if pooling == "cls":
        return states[:, 0]
    weights = mask[:, :, None].astype(np.float32)
    mean = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), _TINY)
    return np.asarray(mean, np.float32)


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _TINY), np.float32)
