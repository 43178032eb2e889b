"""The ONNX graph of an encoder with a span head, written node by node.

Every tensor of a saved model is one initializer under its own name, however many layers use it: an ALBERT is as large
in ONNX as in safetensors. Matrices lie as they are multiplied, so there is nothing to transpose when it is loaded.

Inputs are rows of windows, padded at the end: ``input_ids``, ``attention_mask`` and, where the model has segments,
``token_type_ids``, each (batch, length) int64. Outputs are ``start_logits`` and ``end_logits``, (batch, length)
float32; those of padding mean nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from albertqa.export.matrices import FloatArray, by_output, by_row, in_blocks
from albertqa.model.encoder_config import EncoderConfig
from albertqa.model.load import SpanModel
from albertqa.model.onnx_model import FORMAT, INPUTS, OUTPUTS, Facts, Kind

# Gelu is part of the standard from 20 on.
_OPSET, _IR_VERSION = 20, 10
_GELU_TANH = ("Gelu", {"approximate": "tanh"})
_ACTIVATIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": _GELU_TANH,
    "gelu_fast": _GELU_TANH,
    "gelu_pytorch_tanh": _GELU_TANH,
    "relu": ("Relu", {}),
}
WORD = "embeddings.word"
_FAR = -1e9
"""Added to the scores of padding: its probability is 0, and a sum with it stays finite."""


def matrices_of(model: SpanModel) -> list[str]:
    """Return the names of the matrices that int8 rounds, in order: word embeddings, and all linear layers but the head.

    Args:
        model: The model.
    """
    parameters = dict(model.model.named_parameters())
    return [
        place.theirs.removesuffix(".weight")
        for place in model.family.places(model.model.config)
        if place.ours.endswith(".weight")
        and parameters[place.ours].dim() == 2
        and (place.ours == f"{WORD}.weight" or not place.ours.startswith(("embeddings.", "qa_outputs.")))
    ]


def build_graph(model: SpanModel, kind: Kind = "fp32", *, in_fp32: Collection[str] = ()) -> onnx.ModelProto:
    """Write a model as ONNX.

    Args:
        model: The model.
        kind: Form of its matrices.
        in_fp32: Names, of `matrices_of`, of those that stay fp32 all the same.

    Returns:
        The ONNX model, with what a reader of it needs to know in its metadata.
    """
    graph = _Graph(model, kind, in_fp32)
    return graph.model(Facts(FORMAT, kind, model.max_positions, model.model.config.vocab_size))


class _Graph:
    """Nodes in order, and initializers by name; a value is known by its name."""

    def __init__(self, model: SpanModel, kind: Kind, in_fp32: Collection[str]) -> None:
        self._config: EncoderConfig = model.model.config
        self._kind, self._in_fp32 = kind, in_fp32
        parameters = dict(model.model.named_parameters())
        self._tensors: dict[tuple[str, int | None], tuple[str, FloatArray]] = {
            (place.ours, place.third): (place.theirs, place.of(parameters[place.ours]).detach().cpu().numpy())
            for place in model.family.places(self._config)
        }
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._restored_matrices: dict[str, str] = {}
        self._rounded_inputs: dict[str, list[str]] = {}

    def model(self, facts: Facts) -> onnx.ModelProto:
        """Return the whole model."""
        axes = ["batch", "length"]
        used = INPUTS if self._config.segments > 1 else INPUTS[:-1]
        for name, logits in zip(OUTPUTS, self._logits(), strict=True):
            self._node("Squeeze", logits, self._integers("last_axis", [-1]), into=name)
        graph = helper.make_graph(
            self._nodes,
            "albertqa",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in used],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in OUTPUTS],
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="albertqa")
        helper.set_model_props(model, facts.to_metadata())
        return model

    def _logits(self) -> list[str]:
        config = self._config
        x = self._embedded()
        if config.has_projection:
            x = self._linear(x, "projection")
        mask = self._node("Cast", "attention_mask", to=TensorProto.FLOAT)
        mask = self._node("Mul", self._node("Sub", self._number("one", 1), mask), self._number("far", _FAR))
        mask = self._node("Unsqueeze", mask, self._integers("head_axes", [1, 2]))
        for index in config.layer_order:
            x = self._layer(x, f"layers.{index}.", mask)
        return self._nodes_of("Split", self._linear(x, "qa_outputs"), outputs=2, axis=-1, num_outputs=2)

    def _embedded(self) -> str:
        config = self._config
        length = self._node("Shape", "input_ids", start=1, end=2)
        first = self._integers("first_position", [config.first_position])
        last = self._node("Add", length, first) if config.first_position else length
        positions = self._node("Slice", self._tensor("embeddings.position.weight"), first, last)
        x = self._node("Add", self._words(), positions)
        if config.segments:
            table = self._tensor("embeddings.segment.weight")
            x = self._node("Add", x, self._node("Gather", table, "token_type_ids") if config.segments > 1 else table)
        return self._layer_norm(x, "embeddings.layer_norm")

    def _words(self) -> str:
        name, table = self._tensors[f"{WORD}.weight", None]
        if self._is_fp32(name):
            return self._node("Gather", self._initializer(name, table), "input_ids")
        rounded, scale = by_row(table)
        words = self._node("Gather", self._initializer(name, rounded), "input_ids")
        scales = self._node("Gather", self._initializer(f"{name}.scale", scale), "input_ids")
        return self._node("Mul", self._node("Cast", words, to=TensorProto.FLOAT), scales)

    def _layer(self, x: str, layer: str, mask: str) -> str:
        config = self._config
        in_heads = self._integers("in_heads", [0, 0, config.heads, config.hidden_size // config.heads])
        query, key, value = (self._linear(x, f"{layer}qkv", third) for third in range(3))
        query = self._node("Mul", query, self._number("scale", (config.hidden_size // config.heads) ** -0.5))
        query, key, value = (
            self._node("Transpose", self._node("Reshape", one, in_heads), perm=order)
            for one, order in ((query, [0, 2, 1, 3]), (key, [0, 2, 3, 1]), (value, [0, 2, 1, 3]))
        )
        scores = self._node("Add", self._node("MatMul", query, key), mask)
        attended = self._node("MatMul", self._node("Softmax", scores, axis=-1), value)
        attended = self._node("Transpose", attended, perm=[0, 2, 1, 3])
        attended = self._node("Reshape", attended, self._integers("joined", [0, 0, config.hidden_size]))
        change = self._linear(attended, f"{layer}attention_output")
        x = self._layer_norm(self._node("Add", x, change), f"{layer}attention_layer_norm")
        change = self._linear(self._activation(self._linear(x, f"{layer}feed_forward")), f"{layer}feed_forward_output")
        return self._layer_norm(self._node("Add", x, change), f"{layer}output_layer_norm")

    def _activation(self, x: str) -> str:
        if self._config.activation not in _ACTIVATIONS:
            # silu, which is also called swish.
            return self._node("Mul", x, self._node("Sigmoid", x))
        operator, attributes = _ACTIVATIONS[self._config.activation]
        return self._node(operator, x, **attributes)

    def _layer_norm(self, x: str, module: str) -> str:
        weight, bias = (self._tensor(f"{module}.{kind}") for kind in ("weight", "bias"))
        return self._node("LayerNormalization", x, weight, bias, axis=-1, epsilon=self._config.layer_norm_eps)

    def _linear(self, x: str, module: str, third: int | None = None) -> str:
        name, weight = self._tensors[f"{module}.weight", third]
        bias = self._tensor(f"{module}.bias", third)
        if module == "qa_outputs" or self._is_fp32(name):
            return self._node("Add", self._node("MatMul", x, self._initializer(name, weight.T)), bias)
        if self._kind == "faithful":
            return self._node("Add", self._node("MatMul", x, self._restored(name, weight)), bias)
        # The runtime knows these nodes, in this order, as one product.
        rounded, scale = by_output(weight)
        if x not in self._rounded_inputs:
            self._rounded_inputs[x] = self._nodes_of("DynamicQuantizeLinear", x, outputs=3)
        input_rounded, input_scale, input_zero = self._rounded_inputs[x]
        scales = self._node("Mul", input_scale, self._initializer(f"{name}.scale", scale))
        product = self._node("MatMulInteger", input_rounded, self._initializer(name, rounded), input_zero)
        product = self._node("Cast", product, to=TensorProto.FLOAT)
        return self._node("Add", self._node("Mul", product, scales), bias)

    def _restored(self, name: str, weight: FloatArray) -> str:
        """Restore a faithful matrix, once however many layers use it; the runtime does it when it loads the graph."""
        if name not in self._restored_matrices:
            rounded, scale = in_blocks(weight)
            matrix = self._node("Cast", self._initializer(name, rounded), to=TensorProto.FLOAT)
            matrix = self._node("Mul", matrix, self._initializer(f"{name}.scale", scale))
            shape = self._integers(f"{name}.shape", list(weight.T.shape))
            self._restored_matrices[name] = self._node("Reshape", matrix, shape)
        return self._restored_matrices[name]

    def _is_fp32(self, name: str) -> bool:
        return self._kind == "fp32" or name.removesuffix(".weight") in self._in_fp32

    def _tensor(self, ours: str, third: int | None = None) -> str:
        return self._initializer(*self._tensors[ours, third])

    def _number(self, name: str, value: float) -> str:
        return self._initializer(name, np.float32(value))

    def _integers(self, name: str, values: list[int]) -> str:
        return self._initializer(name, np.asarray(values, dtype=np.int64))

    def _initializer(self, name: str, values: NDArray[Any] | np.generic) -> str:
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        return name

    def _node(self, operator: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        (output,) = self._nodes_of(operator, *inputs, into=into, **attributes)
        return output

    def _nodes_of(
        self, operator: str, *inputs: str, outputs: int = 1, into: str | None = None, **attributes: Any
    ) -> list[str]:
        name = f"{operator}_{len(self._nodes)}"
        named = [into] if into is not None else [f"{name}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), named, name=name, **attributes))
        return named
