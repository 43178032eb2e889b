"""The settings of an encoder: what families, sizes and tasks differ in, with the range of each."""

import json
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, fields
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args

import torch
from torch.nn import functional

from albertqa.errors import ModelError


class Activation(NamedTuple):
    """An activation.

    Attributes:
        apply: The function.
        fused: Its name and form in oneDNN, which applies it together with a product.
    """

    apply: Callable[[torch.Tensor], torch.Tensor]
    fused: tuple[str, str]


TANH_GELU = Activation(partial(functional.gelu, approximate="tanh"), ("gelu", "tanh"))
_SILU = Activation(functional.silu, ("swish", ""))
# By the names that configurations use; the three forms of the tanh approximation are one function.
ACTIVATIONS = {
    "gelu": Activation(functional.gelu, ("gelu", "none")),
    "gelu_new": TANH_GELU,
    "gelu_fast": TANH_GELU,
    "gelu_pytorch_tanh": TANH_GELU,
    "relu": Activation(functional.relu, ("relu", "")),
    "silu": _SILU,
    "swish": _SILU,
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
    """Return one phrase for each problem of an encoder's settings.

    Args:
        values: A value for every attribute of `EncoderConfig`.
        names: What to call an attribute in a problem, where it has another name.
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
