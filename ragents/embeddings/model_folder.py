"""What a sentence-transformers model folder says about itself: pooling, limit, prompts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ragents.errors import ConfigError

Pooling = Literal["mean", "cls"]
Kind = Literal["query", "document"]

DEFAULT_MAX_TOKENS = 512
_MODULES = {"Transformer", "Pooling", "Normalize"}
_UNLIMITED = 1_000_000
"""Tokenizers without a limit write a number with 30 digits."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """`max_tokens` includes special tokens. A prompt is put before each text of its kind; most models have none."""

    path: Path
    pooling: Pooling
    max_tokens: int
    prompts: dict[Kind, str]


@dataclass(frozen=True, slots=True)
class BertShape:
    layers: int
    heads: int
    hidden: int
    epsilon: float
    pooling: Pooling


def read_model_folder(path: Path) -> ModelFolder:
    """ConfigError when the model does something that the onnx backend cannot repeat."""
    return ModelFolder(path, _read_pooling(path), read_max_tokens(path), _read_prompts(path))


def read_bert_shape(path: Path, pooling: Pooling) -> BertShape:
    """From config.json; ConfigError for what bert_graph.py cannot express."""
    config: dict[str, Any] = read_json(path / "config.json")
    kind, activation = config.get("model_type"), config.get("hidden_act")
    if (kind, activation, config.get("position_embedding_type", "absolute")) != ("bert", "gelu", "absolute"):
        raise ConfigError(
            f"{path}: a {kind!r} model with {activation!r} and no onnx/model.onnx; a graph is built for BERT with gelu "
            "and absolute positions, others need their ONNX file or the sentence_transformers backend"
        )
    try:
        return BertShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            epsilon=config.get("layer_norm_eps", 1e-12),
            pooling=pooling,
        )
    except KeyError as error:
        raise ConfigError(f"{path / 'config.json'} lacks {error}; install the model again") from None


def read_json(file: Path) -> Any:
    """Parsed content, {} when there is no such file."""
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}; install the model again") from error


def _read_pooling(path: Path) -> Pooling:
    folder = "1_Pooling"
    for module in read_json(path / "modules.json") or []:
        kind = module["type"].rpartition(".")[2]
        if kind not in _MODULES:
            raise ConfigError(
                f"{path}: the model has a {kind} layer, which the onnx backend does not compute; "
                "set embeddings.backend to 'sentence_transformers'"
            )
        folder = module["path"] if kind == "Pooling" else folder
    file = path / folder / "config.json"
    found = _pooling_mode(read_json(file))
    if found not in ("mean", "cls"):
        raise ConfigError(
            f"{file}: the onnx backend knows mean and cls pooling, not {found!r}; "
            "set embeddings.backend to 'sentence_transformers'"
        )
    return cast("Pooling", found)


def _pooling_mode(config: dict[str, Any]) -> str:
    """`pooling_mode` since sentence-transformers 6, one flag per mode before; mean where nothing is said."""
    if mode := config.get("pooling_mode"):
        return mode if isinstance(mode, str) else "+".join(mode)
    flags = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    chosen = [flags.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value]
    return "+".join(chosen) or "mean"


def read_max_tokens(path: Path) -> int:
    """The stated limit, never beyond the positions that the model has."""
    positions = read_json(path / "config.json").get("max_position_embeddings") or DEFAULT_MAX_TOKENS
    stated = read_json(path / "sentence_bert_config.json").get("max_seq_length")
    if stated is None:
        stated = read_json(path / "tokenizer_config.json").get("model_max_length")
    return int(min(positions, stated)) if stated and stated < _UNLIMITED else int(positions)


def _read_prompts(path: Path) -> dict[Kind, str]:
    named = read_json(path / "config_sentence_transformers.json").get("prompts") or {}
    return choose_prompts(named)


def choose_prompts(named: dict[str, str]) -> dict[Kind, str]:
    """By the names that sentence-transformers' encode_query and encode_document know.

    Empty ones are passed over: sentence-transformers 6.2 adds an empty "document" to every model, which then hides
    the "passage" that its documentation says is used.
    """
    document = next((named[name] for name in ("document", "passage", "corpus") if named.get(name)), "")
    return {"query": named.get("query") or "", "document": document}
