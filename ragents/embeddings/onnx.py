"""The default Embedder: sentence-transformers models on onnxruntime, without torch."""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ragents.config import data_home
from ragents.embeddings.bert_graph import build_graph
from ragents.embeddings.lanes import TwoLaneLock
from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.embeddings.weights import check_weights, find_model, sha256_of
from ragents.errors import ConfigError, InputError, TextTooLong

log = logging.getLogger(__name__)

BATCH_TOKENS = 500
"""Padded tokens of a batch: 47 texts per CPU second when sorted by length; unsorted batches of 32 make 13."""
DEFAULT_MAX_TOKENS = 256
GRAPH_VERSION = 1
"""Part of the cached graph's path: a new builder does not read the old one's file."""


class OnnxEmbedder:
    """Made by `load`, in a thread. One worker thread computes; onnxruntime spreads each batch over the cores."""

    def __init__(
        self, model: str, session: onnxruntime.InferenceSession, tokenizer: Tokenizer, max_tokens: int
    ) -> None:
        self._model = model
        self._session = session
        self._inputs = {each.name for each in session.get_inputs()}
        self._output = session.get_outputs()[0]
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._lock = TwoLaneLock()

    @classmethod
    def load(cls, config: EmbeddingConfig, *, model: str) -> "OnnxEmbedder":
        """Blocking: reads (at the first start: builds) the graph. ConfigError when the model cannot be used."""
        folder = find_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads or os.cpu_count() or 1
        # Spinning threads would take the cores from Postgres and from the event loop between batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        graph = _find_graph(model, folder)
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file says to cut and to pad at 128 tokens; texts are counted whole here, and padded per batch.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(model, session, tokenizer, _read_max_tokens(folder))

    @property
    def model(self) -> str:
        return self._model

    @property
    def dimension(self) -> int:
        return int(self._output.shape[-1])

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch([_encodable(t) for t in texts])]

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self._embed([text], urgent=True))[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._embed(texts, urgent=False)

    def close(self) -> None:
        self._worker.shutdown(wait=True, cancel_futures=True)

    async def _embed(self, texts: Sequence[str], *, urgent: bool) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        if not texts:
            return vectors
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(None, self._token_ids, texts)
        for batch in _batches([len(each) for each in ids]):
            # Let go between batches, so that a question waits for one batch and not for a whole ingest.
            async with self._lock.hold(urgent=urgent):
                vectors[batch] = await loop.run_in_executor(self._worker, self._run, [ids[i] for i in batch])
        return vectors

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch([_encodable(text) for text in texts])
        for index, encoding in enumerate(encodings):
            if len(encoding.ids) > self._max_tokens:
                raise TextTooLong(tokens=len(encoding.ids), max_tokens=self._max_tokens, index=index)
        return [encoding.ids for encoding in encodings]

    def _run(self, ids: Sequence[Sequence[int]]) -> Vectors:
        shape = len(ids), max(map(len, ids))
        tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, each in enumerate(ids):
            tokens[row, : len(each)] = each
            mask[row, : len(each)] = 1
        feed = {"input_ids": tokens, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros(shape, np.int64)
        (output,) = self._session.run([self._output.name], feed)
        return np.asarray(_pooled(output, mask), np.float32)


def _pooled(output: Vectors, mask: NDArray[np.int64]) -> Vectors:
    """A model's own ONNX file gives states (batch, tokens, hidden): mean and normalise. Our graph has done both."""
    if output.ndim == 2:
        return output
    weights = mask[:, :, None].astype(np.float32)
    mean = (output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices by falling length, in batches of at most BATCH_TOKENS padded tokens (and at least one text)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _encodable(text: object) -> str:
    if not isinstance(text, str):
        raise InputError(f"expected a text, found {type(text).__name__}", field="text")
    return text.encode("utf-8", "replace").decode("utf-8")


def _read_max_tokens(folder: Path) -> int:
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return DEFAULT_MAX_TOKENS
    return int(json.loads(file.read_text(encoding="utf-8")).get("max_seq_length") or DEFAULT_MAX_TOKENS)


def _find_graph(model: str, folder: Path) -> str | bytes:
    """A path, or the graph itself where it cannot be kept on disk."""
    own = folder / "onnx" / "model.onnx"
    if own.is_file():
        return str(own)
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(f"{folder}: neither onnx/model.onnx nor model.safetensors is there")
    # Path, size and time stand for the content here; the content itself is hashed when the graph is built.
    status = weights.stat()
    stamp = {"weights": str(weights), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    digest = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()
    cache = data_home() / "models" / f"{folder.name}-{digest[:16]}-v{GRAPH_VERSION}"
    try:
        return str(_cached_graph(cache, model, folder, weights))
    except OSError as error:
        log.warning("the encoder's graph cannot be kept in %s (%s); it is built at every start", cache, error)
        check_weights(model, weights)
        return build_graph(folder, weights)


def _cached_graph(cache: Path, model: str, folder: Path, weights: Path) -> Path:
    graph, checksum = cache / "model.onnx", cache / "model.onnx.sha256"
    if _intact(graph, checksum):
        return graph
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _exclusive(cache / "lock"):
        if _intact(graph, checksum):  # another process was faster
            return graph
        log.info("building the encoder's graph from %s (once)", weights)
        check_weights(model, weights)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as temporary:
            temporary.write(build_graph(folder, weights))
        os.replace(temporary.name, graph)
        checksum.write_text(sha256_of(graph), encoding="ascii")
    return graph


def _intact(graph: Path, checksum: Path) -> bool:
    return graph.is_file() and checksum.is_file() and sha256_of(graph) == checksum.read_text(encoding="ascii").strip()


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
