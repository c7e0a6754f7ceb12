"""Model folders that a test makes: small, random, and real to the code that reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "tax", "law", "query", "passage", ":"]
HIDDEN, LAYERS, HEADS, POSITIONS = 8, 2, 2, 32


def make_folder(path: Path, **config: Any) -> Path:
    """Tokenizer and config.json of a BERT; no weights yet."""
    path.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(4)  # as published files do: it must not cut
    tokenizer.save(str(path / "tokenizer.json"))
    shape = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * HIDDEN,
        "max_position_embeddings": POSITIONS,
    }
    write_json(path / "config.json", shape | config)
    return path


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def add_weights(path: Path) -> Path:
    chance = np.random.default_rng(7)

    def tensor(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return chance.normal(0, 0.5, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": tensor(len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": tensor(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": tensor(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{n}" for n in range(LAYERS)):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            tensors |= {f"{layer}.{name}.weight": tensor(HIDDEN, HIDDEN), f"{layer}.{name}.bias": tensor(HIDDEN)}
        tensors |= {f"{layer}.intermediate.dense.weight": tensor(4 * HIDDEN, HIDDEN)}
        tensors |= {f"{layer}.intermediate.dense.bias": tensor(4 * HIDDEN)}
        tensors |= {
            f"{layer}.output.dense.weight": tensor(HIDDEN, 4 * HIDDEN),
            f"{layer}.output.dense.bias": tensor(HIDDEN),
        }
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        tensors |= {f"{norm}.weight": np.ones(HIDDEN, np.float32), f"{norm}.bias": np.zeros(HIDDEN, np.float32)}
    save_file(tensors, path / "model.safetensors")
    return path


def add_own_graph(path: Path, *, dimension: int = 4) -> Path:
    """onnx/model.onnx that gives each token its one-hot state, unpooled; its output's shape is left open."""
    table = numpy_helper.from_array(np.eye(len(WORDS), dimension, k=-4, dtype=np.float32) + np.float32(0.01), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "states",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, None)],
        [table],
    )
    (path / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path / "onnx" / "model.onnx"))
    return path
