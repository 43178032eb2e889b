"""The encoder: what happens to a token from its id to its start and end logit, for every family of encoders.

ALBERT, BERT, RoBERTa, ELECTRA and DistilBERT are one design: embeddings, then layers of attention and feed-forward,
each followed by a residual and a LayerNorm. `EncoderConfig` holds what differs. Windows lie end to end without padding
(`PackedBatch`); only attention keeps them apart (`albertqa.model.attention`).

Weights are fp32. In half precision each linear layer multiplies with a copy of its weights that is made once a forward,
however many layers share them; their gradients are summed in fp32.

Axis letters: T tokens of the batch, W windows, H hidden size, E embedding size, F feed-forward size.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, fields
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from albertqa.errors import ModelError
from albertqa.model.attention import Attend, attention_inputs, choose_attention
from albertqa.windows.batches import PackedBatch

_gelu_tanh = partial(functional.gelu, approximate="tanh")
# By the names that configurations use; the three forms of the tanh approximation are one function.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
}
_MOST_LAYERS = 1_000


class Within(NamedTuple):
    """The range of a number, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class EncoderConfig:
    """The settings of an encoder, checked when they are made.

    Attributes:
        vocab_size: Rows of the word embeddings.
        hidden_size: Width of the hidden states; a multiple of `heads`.
        embedding_size: Width of the embeddings.
        layers: How often a group of layers is applied.
        groups: Groups of layers with weights of their own; `layers` applications share them in equal parts.
        inner_layers: Layers of a group.
        heads: Attention heads.
        feed_forward_size: Width between the two linear layers of the feed-forward part.
        activation: Its activation, one of `ACTIVATIONS`.
        positions: Rows of the position embeddings.
        segments: Rows of the segment embeddings; 0: there are none.
        padding_id: Id of the padding token, whose embedding is never trained; None: there is none.
        hidden_dropout: Dropout of embeddings and, as the two fields below say, of each layer's outputs.
        attention_dropout: Dropout of attention probabilities.
        head_dropout: Dropout before the span head.
        layer_norm_eps: Added to the variance in every LayerNorm.
        initializer_range: Standard deviation of random weights.
        has_projection: Whether a linear layer lies between embeddings and the first layer.
        drops_attention_output: Whether `hidden_dropout` applies to what attention adds.
        drops_feed_forward: Whether it applies to what the feed-forward part adds.
        positions_from_padding: Whether a window's first token has position `padding_id` + 1 instead of 0.

    Raises:
        ModelError: A value has the wrong type, is out of range or contradicts another.
    """

    vocab_size: Annotated[int, Within(1, 10_000_000)]
    hidden_size: Annotated[int, Within(1, 65_536)]
    embedding_size: Annotated[int, Within(1, 65_536)]
    layers: Annotated[int, Within(1, _MOST_LAYERS)]
    groups: Annotated[int, Within(1, _MOST_LAYERS)]
    inner_layers: Annotated[int, Within(1, _MOST_LAYERS)]
    heads: Annotated[int, Within(1, 1_024)]
    feed_forward_size: Annotated[int, Within(1, 1_048_576)]
    activation: str
    positions: Annotated[int, Within(1, 1_000_000)]
    segments: Annotated[int, Within(0, 1_000)]
    padding_id: Annotated[int | None, Within(0, 9_999_999)]
    hidden_dropout: Annotated[float, Within(0, 0.999_999)]
    attention_dropout: Annotated[float, Within(0, 0.999_999)]
    head_dropout: Annotated[float, Within(0, 0.999_999)]
    layer_norm_eps: Annotated[float, Within(1e-30, 1)]
    initializer_range: Annotated[float, Within(1e-9, 10)]
    has_projection: bool
    drops_attention_output: bool
    drops_feed_forward: bool
    positions_from_padding: bool

    def __post_init__(self) -> None:
        if problems := config_problems(asdict(self)):
            raise ModelError("; ".join(problems))

    @property
    def first_position(self) -> int:
        """Position id of a window's first token."""
        return self.padding_id + 1 if self.positions_from_padding and self.padding_id is not None else 0

    @property
    def layer_order(self) -> list[int]:
        """Index, among the layers that have weights of their own, of every layer that is applied, in order."""
        # The quotient is rounded down in floating point, as Transformers' AlbertTransformer does it.
        groups = [int(layer / (self.layers / self.groups)) for layer in range(self.layers)]
        return [group * self.inner_layers + inner for group in groups for inner in range(self.inner_layers)]


def config_problems(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[str]:
    """Check the settings of an encoder.

    Args:
        values: A value for every attribute of `EncoderConfig`.
        names: What to call an attribute in a problem, where it has another name.

    Returns:
        One phrase for each problem; empty where the settings are valid.
    """
    name = {one.name: (names or {}).get(one.name, one.name) for one in fields(EncoderConfig)}
    problems = [
        f"{name[one.name]} is {shortened(values[one.name])}, expected {expected}"
        for one in fields(EncoderConfig)
        if (expected := _expected(one, values[one.name])) is not None
    ]
    if problems:
        return problems
    hidden, heads, layers, groups = (values[one] for one in ("hidden_size", "heads", "layers", "groups"))
    padding, first = values["padding_id"], 0
    if values["positions_from_padding"]:
        first = -1 if padding is None else padding + 1
    checks = {
        f"{name['hidden_size']} is {hidden}, expected a multiple of {name['heads']} ({heads})": hidden % heads,
        f"{name['groups']} is {groups}, expected at most {name['layers']} ({layers})": groups > layers,
        f"{name['layers']} times {name['inner_layers']} is {layers * values['inner_layers']:,}, "
        f"expected at most {_MOST_LAYERS:,}": layers * values["inner_layers"] > _MOST_LAYERS,
        f"{name['padding_id']} is {padding}, expected less than {name['vocab_size']} ({values['vocab_size']})": (
            padding is not None and padding >= values["vocab_size"]
        ),
        f"{name['padding_id']} is {padding}, but positions are counted from it, of {name['positions']} "
        f"({values['positions']})": not 0 <= first < values["positions"],
        f"{name['embedding_size']} is {values['embedding_size']}, expected {name['hidden_size']} ({hidden})": (
            not values["has_projection"] and values["embedding_size"] != hidden
        ),
    }
    return [problem for problem, is_one in checks.items() if is_one]


def _expected(setting: Field[Any], value: object) -> str | None:
    """Return what a setting should have been, None where it is that."""
    if setting.type is bool:
        return None if isinstance(value, bool) else "true or false"
    if setting.type is str:
        is_known = isinstance(value, str) and value in ACTIVATIONS
        return None if is_known else f"one of {', '.join(ACTIVATIONS)}"
    kind, (low, high) = get_args(setting.type)
    if value is None and isinstance(value, kind):
        return None
    is_number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    if is_number and low <= value <= high:
        return None
    return f"a {'number' if kind is float else 'whole number'} from {low:,} to {high:,}"


def shortened(value: object) -> str:
    """Return a value of a JSON file, printable and short enough for a message."""
    # An integer of many digits cannot be printed at all.
    text = "too large" if isinstance(value, int) and value.bit_length() > 128 else json.dumps(value)
    text = text if text.isprintable() else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Weights(NamedTuple):
    """A linear layer's weights as one forward multiplies with them: fp32, and their half-precision copy if needed."""

    weight: torch.Tensor
    bias: torch.Tensor
    half_weight: torch.Tensor | None = None
    half_bias: torch.Tensor | None = None

    @classmethod
    def of(cls, layer: nn.Linear, precision: torch.dtype | None) -> "Weights":
        """Return a layer's weights, copied to a precision."""
        if precision is None:
            return cls(layer.weight, layer.bias)
        copies = (one.detach().to(precision) for one in (layer.weight, layer.bias))
        return cls(layer.weight, layer.bias, *copies)


class _HalfProduct(torch.autograd.Function):
    """A linear layer in half precision whose weights get fp32 gradients.

    A shared layer's gradients are summed over all its uses; in half precision every sum would be rounded again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,  # noqa: ARG004 -- gets the gradient
        bias: torch.Tensor,  # noqa: ARG004
        half_weight: torch.Tensor,
        half_bias: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, half_weight)
        return functional.linear(x, half_weight, half_bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, half_weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        return (
            gradient @ half_weight if needs_x else None,
            (gradient.t() @ x).float() if needs_weight else None,
            gradient.sum(dim=0).float() if needs_bias else None,
            None,
            None,
        )


def _linear(x: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Apply a linear layer: (T, in) -> (T, out)."""
    if weights.half_weight is None:
        return functional.linear(x, weights.weight, weights.bias)
    product: torch.Tensor = _HalfProduct.apply(x, *weights)  # type: ignore[no-untyped-call]
    return product


def _add_and_norm(x: torch.Tensor, change: torch.Tensor, norm: nn.LayerNorm) -> torch.Tensor:
    """Apply a residual and its LayerNorm; the statistics are fp32: (T, H), (T, H) -> (T, H)."""
    # Only the CPU's kernel takes half-precision input beside fp32 weights.
    total = x + change if x.device.type == "cpu" else x.float() + change
    normed: torch.Tensor = norm(total)
    return normed.to(x.dtype)


class Embeddings(nn.Module):
    """Sum of word, position and segment embeddings, normalized."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self._first_position, self._dropout = config.first_position, config.hidden_dropout
        self.word = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.padding_id)
        # A row of the padding token is never read here; it is 0 where weights are drawn.
        padded_position = config.padding_id if config.positions_from_padding else None
        self.position = nn.Embedding(config.positions, config.embedding_size, padding_idx=padded_position)
        self.segment = nn.Embedding(config.segments, config.embedding_size) if config.segments else None
        self.layer_norm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """Embed a batch's tokens.

        Shapes:
            returns: (T, E) float32
        """
        total = self.word(batch.input_ids) + self.position(batch.position_ids + self._first_position)
        if self.segment is not None:
            # Of one row, as RoBERTa has it, every token gets that row.
            one_row = self.segment.num_embeddings == 1
            total = total + (self.segment.weight if one_row else self.segment(batch.token_type_ids))
        return functional.dropout(self.layer_norm(total), self._dropout, self.training)


class Layer(nn.Module):
    """Attention within windows and a feed-forward part, each with residual and LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden, inner, eps = config.hidden_size, config.feed_forward_size, config.layer_norm_eps
        self._heads, self._activation = config.heads, ACTIVATIONS[config.activation]
        self._attention_output_dropout = config.hidden_dropout * config.drops_attention_output
        self._feed_forward_dropout = config.hidden_dropout * config.drops_feed_forward
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_layer_norm = nn.LayerNorm(hidden, eps=eps)
        self.feed_forward = nn.Linear(hidden, inner)
        self.feed_forward_output = nn.Linear(inner, hidden)
        self.output_layer_norm = nn.LayerNorm(hidden, eps=eps)

    def weights(self, precision: torch.dtype | None) -> tuple[Weights, ...]:
        """Return the weights of the four linear layers, copied to a precision."""
        layers = (self.qkv, self.attention_output, self.feed_forward, self.feed_forward_output)
        return tuple(Weights.of(layer, precision) for layer in layers)

    def forward(
        self,
        x: torch.Tensor,
        attend: Callable[[torch.Tensor], torch.Tensor],
        weights: tuple[Weights, ...],
        after_attention: Callable[..., torch.Tensor],
    ) -> torch.Tensor:
        """Apply the layer.

        Args:
            x: Hidden states.
            attend: Attention within the batch's windows.
            weights: What `weights` returned in this forward.
            after_attention: `Layer.after_attention`, or what it was compiled to.

        Shapes:
            x, returns: (T, H)
        """
        qkv = _linear(x, weights[0]).view(len(x), 3, self._heads, -1)
        return after_attention(self, x, attend(qkv).flatten(1), weights)

    def after_attention(self, x: torch.Tensor, attended: torch.Tensor, weights: tuple[Weights, ...]) -> torch.Tensor:
        """Apply the part of the layer that treats every token alone: (T, H), (T, H) -> (T, H)."""
        _, attention_output, feed_forward, feed_forward_output = weights
        change = _linear(attended, attention_output)
        change = functional.dropout(change, self._attention_output_dropout, self.training)
        x = _add_and_norm(x, change, self.attention_layer_norm)
        change = _linear(self._activation(_linear(x, feed_forward)), feed_forward_output)
        change = functional.dropout(change, self._feed_forward_dropout, self.training)
        return _add_and_norm(x, change, self.output_layer_norm)


class Encoder(nn.Module):
    """An encoder with a span head.

    Args:
        config: Its settings.

    Attributes:
        recompute: Whether layers keep only their input for the backward pass and compute what lies between again:
            less memory for about a third more arithmetic, and the same result to the bit, dropout included.
        after_attention: The part of a layer that `albertqa.model.compiled` compiles.

    Source:
        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4, with every layer a segment.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        self.after_attention: Callable[..., torch.Tensor] = Layer.after_attention
        self.embeddings = Embeddings(config)
        self.projection = nn.Linear(config.embedding_size, config.hidden_size) if config.has_projection else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.groups * config.inner_layers))
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def forward(self, batch: PackedBatch, precision: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Score every token as start and as end of the answer.

        Args:
            batch: Windows laid end to end, on the encoder's device.
            precision: Type of the matrix products; None: fp32.

        Returns:
            Start and end logits of all tokens.

        Shapes:
            returns: two of (T,) float32
        """
        attend = self._attention(batch, precision)
        x = self.embeddings(batch)
        x = x if precision is None else x.to(precision)
        if self.projection is not None:
            x = _linear(x, Weights.of(self.projection, precision))
        weights = [layer.weights(precision) for layer in self.layers]  # type: ignore[operator]
        for index in self.config.layer_order:
            layer, inputs = self.layers[index], (x, attend, weights[index], self.after_attention)
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        x = functional.dropout(x.to(self.qa_outputs.weight.dtype), self.config.head_dropout, self.training)
        start_logits, end_logits = self.qa_outputs(x).unbind(dim=1)
        return start_logits, end_logits

    def _attention(self, batch: PackedBatch, precision: torch.dtype | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the attention within a batch's windows: (T, 3, heads, head size) -> (T, heads, head size)."""
        dropout = self.config.attention_dropout if self.training else 0.0
        head_size = self.config.hidden_size // self.config.heads
        way: Attend = choose_attention(batch.input_ids.device, precision, head_size=head_size, dropout=dropout)
        return partial(way, dropout=dropout, **attention_inputs(way, batch))

    @torch.no_grad()
    def draw_weights(self, part: nn.Module) -> None:
        """Draw weights at random.

        Args:
            part: The encoder itself, or the part of it to draw.

        Source:
            Transformers' `PreTrainedModel._init_weights`: matrices and embeddings from a normal distribution, rows of
            the padding token 0, biases 0, LayerNorm's weights 1.
        """
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
            if isinstance(module, nn.Linear | nn.LayerNorm):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0.0
