"""A BERT encoder as an ONNX graph of plain operators, written from safetensors: no torch, no exporter.

Pooling and L2 normalisation are part of the graph. Architecture: Devlin et al. 2018 (arXiv 1810.04805); pooling:
Reimers and Gurevych 2019 (arXiv 1908.10084). Cosine to the torch model's output is above .9999999.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ragents.embeddings.model_folder import BertShape
from ragents.errors import ConfigError

OPSET = 17
IR_VERSION = 8
"""What opset 17 came with, so that older runtimes read the graph, too."""


def build_graph(weights: Path, shape: BertShape) -> bytes:
    """Inputs input_ids and attention_mask, int64 (batch, tokens); output embedding, float32 (batch, hidden), unit rows.

    Raises ConfigError when the file is damaged or holds another architecture.
    """
    try:
        return _Builder(shape, load_file(weights)).build()
    except KeyError as error:
        raise ConfigError(
            f"{weights} has no tensor {error}; it is not the BERT that its config.json describes"
        ) from None
    except (SafetensorError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigError(f"{weights} cannot be read: {error}; install the model again") from error


class _Builder:
    def __init__(self, shape: BertShape, tensors: dict[str, NDArray[Any]]) -> None:
        self.shape = shape
        self.tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def build(self) -> bytes:
        states = self._embed()
        bias = self._attention_bias()
        for layer in range(self.shape.layers):
            states = self._layer(f"encoder.layer.{layer}", states, bias)
        pooled = self._pool(states)
        norm = self._op("ReduceL2", pooled, axes=[1], keepdims=1)
        floor = self._op("Max", norm, self._constant("tiny", np.array([1e-12], np.float32)))
        self._op("Div", pooled, floor, output="embedding")
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [
                helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"])
                for n in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self.shape.hidden])],
            list(self.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        # Deterministic, since the file is named by its content and several processes may write it at once.
        serialized: bytes = model.SerializeToString(deterministic=True)
        return serialized

    def _embed(self) -> str:
        words = self._op("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        length = self._op("Gather", self._op("Shape", "input_ids"), self._constant("one", np.array([1], np.int64)))
        zero = self._constant("zero", np.array([0], np.int64))
        positions = self._op("Slice", self._weight("embeddings.position_embeddings.weight"), zero, length, zero)
        # One segment: every token has type 0.
        kind = self._constant("type", self.tensors["embeddings.token_type_embeddings.weight"][:1].astype(np.float32))
        return self._norm("embeddings.LayerNorm", self._op("Add", self._op("Add", words, positions), kind))

    def _attention_bias(self) -> str:
        """0 for tokens and a large negative number for padding, (batch, 1, 1, tokens)."""
        axes = self._constant("axes12", np.array([1, 2], np.int64))
        mask = self._op("Unsqueeze", self._op("Cast", "attention_mask", to=TensorProto.FLOAT), axes)
        missing = self._op("Sub", self._constant("one_f", np.array([1], np.float32)), mask)
        return self._op("Mul", missing, self._constant("negative", np.array([-1e9], np.float32)))

    def _layer(self, name: str, states: str, bias: str) -> str:
        attention = f"{name}.attention"
        query, key, value = (
            self._heads(self._linear(f"{attention}.self.{part}", states)) for part in ("query", "key", "value")
        )
        scores = self._op("MatMul", query, self._op("Transpose", key, perm=[0, 1, 3, 2]))
        scale = self._constant("scale", np.array([1 / math.sqrt(self.shape.hidden // self.shape.heads)], np.float32))
        weights = self._op("Softmax", self._op("Add", self._op("Mul", scores, scale), bias), axis=-1)
        context = self._op("Transpose", self._op("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self._op("Reshape", context, self._constant("joined", np.array([0, 0, self.shape.hidden], np.int64)))
        attended = self._op("Add", self._linear(f"{attention}.output.dense", joined), states)
        attended = self._norm(f"{attention}.output.LayerNorm", attended)
        inner = self._gelu(self._linear(f"{name}.intermediate.dense", attended))
        output = self._op("Add", self._linear(f"{name}.output.dense", inner), attended)
        return self._norm(f"{name}.output.LayerNorm", output)

    def _pool(self, states: str) -> str:
        if self.shape.pooling == "cls":
            first = self._constant("first", np.array(0, np.int64))
            return self._op("Gather", states, first, axis=1)
        axis = self._constant("axis2", np.array([2], np.int64))
        mask = self._op("Unsqueeze", self._op("Cast", "attention_mask", to=TensorProto.FLOAT), axis)
        tokens_axis = self._constant("axis1", np.array([1], np.int64))
        total = self._op("ReduceSum", self._op("Mul", states, mask), tokens_axis, keepdims=0)
        count = self._op("ReduceSum", mask, tokens_axis, keepdims=0)
        return self._op("Div", total, self._op("Max", count, self._constant("tiny", np.array([1e-12], np.float32))))

    def _heads(self, states: str) -> str:
        size = self.shape.hidden // self.shape.heads
        shape = self._constant("split", np.array([0, 0, self.shape.heads, size], np.int64))
        return self._op("Transpose", self._op("Reshape", states, shape), perm=[0, 2, 1, 3])

    def _linear(self, name: str, states: str) -> str:
        weight = self._constant(f"{name}.weight.T", np.ascontiguousarray(self.tensors[f"{name}.weight"].T, np.float32))
        return self._op("Add", self._op("MatMul", states, weight), self._weight(f"{name}.bias"))

    def _norm(self, name: str, states: str) -> str:
        return self._op(
            "LayerNormalization",
            states,
            self._weight(f"{name}.weight"),
            self._weight(f"{name}.bias"),
            axis=-1,
            epsilon=self.shape.epsilon,
        )

    def _gelu(self, states: str) -> str:
        """x * (1 + erf(x / sqrt 2)) / 2: the exact one, which BERT was trained with."""
        erf = self._op("Erf", self._op("Div", states, self._constant("sqrt2", np.array([math.sqrt(2)], np.float32))))
        grown = self._op("Mul", states, self._op("Add", erf, self._constant("one_f", np.array([1], np.float32))))
        return self._op("Mul", grown, self._constant("half", np.array([0.5], np.float32)))

    def _weight(self, name: str) -> str:
        return self._constant(name, self.tensors[name].astype(np.float32))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def _op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output
