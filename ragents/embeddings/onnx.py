"""The default backend: sentence-transformers models on onnxruntime, without torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime

from ragents.config import data_home
from ragents.embeddings.cores import usable_cores
from ragents.embeddings.graph_cache import cached_graph
from ragents.embeddings.local import CPU_BATCH_TOKENS, Tokenized
from ragents.embeddings.model_folder import Kind, ModelFolder, Pooling, read_bert_shape, read_model_folder
from ragents.embeddings.pooling import pool, unit
from ragents.embeddings.quantizing import int8_graph
from ragents.embeddings.tokenizing import FolderTokenizer
from ragents.embeddings.types import EmbeddingConfig, Vectors
from ragents.embeddings.weights import check_weights, find_model
from ragents.errors import ConfigError

GRAPH_VERSION = 1
"""Part of the cached graph's recipe: raise it when bert_graph.py writes another graph for the same weights."""


class OnnxEncoder:
    """Made by `load`."""

    batch_tokens = CPU_BATCH_TOKENS

    def __init__(self, folder: ModelFolder, session: onnxruntime.InferenceSession) -> None:
        self._folder, self._session, self._tokenizer = folder, session, FolderTokenizer(folder.path, folder.prompts)
        self._inputs = {each.name for each in session.get_inputs()}
        self._output = session.get_outputs()[0].name
        # A model's own graph may leave its output's shape open, so it is asked; this is the first run, too.
        self.dimension = int(self.encode(self.tokenize(["warm up"], "query"), "query").shape[1])

    @classmethod
    def load(cls, config: EmbeddingConfig, *, model: str) -> "OnnxEncoder":
        """Reads (at the first start: builds) the graph. ConfigError when the model cannot be used."""
        path = find_model(model)
        folder = read_model_folder(path)
        graph = find_graph(model, path, folder.pooling)
        if config.precision == "int8":
            graph = int8_graph(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads or usable_cores()
        # Spinning threads would take the cores from Postgres and from the event loop between batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
            )
            return cls(folder, session)
        except ConfigError:
            raise
        except Exception as error:  # onnxruntime raises classes of its own that share no other base
            raise ConfigError(f"rag.embedding_model = {model!r}: {path} cannot be loaded: {error}") from error

    @property
    def max_tokens(self) -> int:
        return self._folder.max_tokens

    def tokenize(self, texts: Sequence[str], kind: Kind) -> list[Tokenized]:
        return self._tokenizer.tokenize(texts, kind)

    def encode(self, batch: Sequence[Tokenized], kind: Kind) -> Vectors:
        shape = len(batch), max(len(each.ids) for each in batch)
        tokens, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, each in enumerate(batch):
            tokens[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
        feed = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        (output,) = self._session.run([self._output], feed)
        return unit(pool(output, mask, self._folder.pooling) if output.ndim == 3 else output)


def find_graph(model: str, path: Path, pooling: Pooling) -> Path | bytes:
    """The model's own ONNX file, else one that is built from its weights: a path, or bytes where no disk takes it."""
    own = path / "onnx" / "model.onnx"
    if own.is_file():
        return own
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(f"{path}: neither onnx/model.onnx nor model.safetensors is there; install the model again")
    return _built_graph(model, weights, pooling)


def _built_graph(model: str, weights: Path, pooling: Pooling) -> Path | bytes:
    shape = read_bert_shape(weights.parent, pooling)
    sha256 = check_weights(model, weights)

    def build() -> bytes:
        # Imported here: the onnx package costs 0.2 s, which only the first start needs to pay.
        from ragents.embeddings.bert_graph import build_graph  # noqa: PLC0415

        return build_graph(weights, shape)

    recipe = json.dumps([GRAPH_VERSION, asdict(shape)], sort_keys=True)
    return cached_graph(data_home() / "models" / sha256, recipe=recipe, build=build)
