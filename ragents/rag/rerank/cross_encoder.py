"""A cross-encoder of sentence-transformers (torch), in this process."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ragents.errors import ConfigError, MissingExtra, RerankerUnavailable
from ragents.rag.rerank.types import RerankConfig

try:
    import torch
    from sentence_transformers import CrossEncoder
except ImportError as error:
    raise MissingExtra("cross_encoder", extra="torch") from error

BATCH = 16


class CrossEncoderReranker:
    """Made by `load`. One call runs at a time; what is late when its turn comes is not computed any more."""

    def __init__(self, encoder: CrossEncoder, model: str) -> None:
        self._encoder = encoder
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reranker")

    @classmethod
    def load(cls, config: RerankConfig) -> "CrossEncoderReranker":
        """ConfigError for a model that cannot be loaded. Safetensors only, and no code of a model's author runs."""
        model = config.model or ""
        try:
            encoder = CrossEncoder(
                model,
                device=config.device,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
                activation_fn=torch.nn.Sigmoid(),
            )
        except Exception as error:  # hub, torch and transformers raise classes that share no other base
            raise ConfigError(f"rerank.model = {model!r} cannot be loaded: {error}") from error
        if encoder.num_labels != 1:
            raise ConfigError(f"rerank.model = {model!r} gives {encoder.num_labels} values per text; expected one")
        return cls(encoder, model)

    @property
    def model(self) -> str:
        return self._model

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        given_up = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._scores, query, list(texts), given_up
            )
        except Exception as error:  # torch raises what it likes: no memory left on the device, a broken driver
            raise RerankerUnavailable(f"it failed ({type(error).__name__})") from error
        finally:
            given_up.set()

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _scores(self, query: str, texts: Sequence[str], given_up: threading.Event) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), BATCH):
            if given_up.is_set():
                return []
            pairs = [(query, text) for text in texts[start : start + BATCH]]
            scores += self._encoder.predict(pairs, batch_size=BATCH, show_progress_bar=False).tolist()
        return scores
