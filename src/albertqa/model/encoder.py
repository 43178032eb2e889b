"""The encoder: what happens to a token from its id to its start and end logit, for every family of encoders.

ALBERT, BERT, RoBERTa, ELECTRA and DistilBERT are one design: embeddings, then layers of attention and feed-forward,
each followed by a residual and a LayerNorm. `EncoderConfig` holds what differs. Windows lie end to end without padding
(`PackedBatch`); only attention keeps them apart (`albertqa.model.attention`).

Weights are fp32. In half precision each linear layer multiplies with a copy of its weights that is made once a forward,
however often the layer is used.

Axis letters: T tokens of the batch, W windows, H hidden size, E embedding size, F feed-forward size.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from albertqa.model.attention import Attend, attend_per_window, attention_inputs, choose_attention
from albertqa.model.dropout import (
    ATTENTION,
    ATTENTION_OUTPUT,
    EMBEDDINGS,
    FEED_FORWARD,
    HEAD,
    draw_mask,
    dropped,
    place_seeds,
)
from albertqa.model.encoder_config import ACTIVATIONS, EncoderConfig
from albertqa.model.linear import Weights, add, is_fused, linear, weights_of
from albertqa.windows.batches import PackedBatch

# What a layer drops of the attention's and of the feed-forward part's output; see `draw_mask`.
Masks: TypeAlias = tuple[torch.Tensor | None, torch.Tensor | None]


def _num_spare_rows(tokens: int) -> int:
    """Return how many rows to add to a batch so that its products have one of few shapes; at most a sixteenth more.

    oneDNN makes code for every shape that it meets, and keeps it: some hundred megabytes after some thousand batches.
    """
    return -tokens % max(16, 1 << tokens.bit_length() >> 5)


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
        normed: torch.Tensor = self.layer_norm(total)
        mask = draw_mask(batch, normed, self._dropout, EMBEDDINGS) if self.training else None
        return dropped(normed, mask, self._dropout, self.training)


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

    def weights(self, precision: torch.dtype | None, *, rows: int | None) -> tuple[Weights, ...]:
        """Return the weights of the four linear layers for one forward (see `weights_of`)."""
        layers = (self.qkv, self.attention_output, self.feed_forward, self.feed_forward_output)
        return tuple(weights_of(layer, precision, rows=rows) for layer in layers)

    def forward(
        self,
        x: torch.Tensor,
        attend: Callable[[torch.Tensor], torch.Tensor],
        weights: tuple[Weights, ...],
        after_attention: Callable[..., torch.Tensor],
        batch: PackedBatch,
        depth: int,
    ) -> torch.Tensor:
        """Apply the layer.

        Args:
            x: Hidden states.
            attend: Attention within the batch's windows.
            weights: What `weights` returned in this forward.
            after_attention: `Layer.after_attention`, or what it was compiled to.
            batch: The windows.
            depth: How often the layers were applied before.

        Shapes:
            x, returns: (T, H), or a few rows more
        """
        qkv = linear(x, weights[0]).view(len(x), 3, self._heads, -1)
        tokens = len(batch.input_ids)
        if len(x) == tokens:
            attended = attend(qkv).flatten(1)
        else:
            attended = functional.pad(attend(qkv[:tokens]).flatten(1), (0, 0, 0, len(x) - tokens))
        # Drawn here, as a compiled part knows nothing of windows.
        masks: Masks = (None, None)
        if self.training:
            masks = (
                draw_mask(batch, x, self._attention_output_dropout, ATTENTION_OUTPUT, depth),
                draw_mask(batch, x, self._feed_forward_dropout, FEED_FORWARD, depth),
            )
        return after_attention(self, x, attended, weights, masks)

    def after_attention(
        self, x: torch.Tensor, attended: torch.Tensor, weights: tuple[Weights, ...], masks: Masks
    ) -> torch.Tensor:
        """Apply the part of the layer that treats every token alone: (T, H), (T, H) -> (T, H)."""
        _, attention_output, feed_forward, feed_forward_output = weights
        total = self._add(x, attended, attention_output, masks[0], self._attention_output_dropout)
        x = self.attention_layer_norm(total).to(x.dtype)
        inner = linear(x, feed_forward, self._activation)
        total = self._add(x, inner, feed_forward_output, masks[1], self._feed_forward_dropout)
        normed: torch.Tensor = self.output_layer_norm(total).to(x.dtype)
        return normed

    def _add(
        self, x: torch.Tensor, inner: torch.Tensor, weights: Weights, mask: torch.Tensor | None, dropout: float
    ) -> torch.Tensor:
        """Apply a linear layer, dropout, and the residual x: (T, H), (T, inputs) -> (T, H)."""
        if not (self.training and dropout):
            return linear(inner, weights, residual=x)
        return add(x, dropped(linear(inner, weights), mask, dropout, training=True))


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
        if not torch.is_grad_enabled() and is_fused(x):
            # Rows that no window has; a window's own do not depend on them.
            x = functional.pad(x, (0, 0, 0, _num_spare_rows(len(x))))
        if self.projection is not None:
            x = linear(x, weights_of(self.projection, precision))
        # The compiler does not know packed weights.
        packs = len(self.config.layer_order) > len(self.layers) and self.after_attention is Layer.after_attention
        weights = [layer.weights(precision, rows=len(x) if packs else None) for layer in self.layers]  # type: ignore[operator]
        for depth, index in enumerate(self.config.layer_order):
            layer = self.layers[index]
            inputs = (x, attend(depth), weights[index], self.after_attention, batch, depth)
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                x = layer(*inputs)
        if len(x) > len(batch.input_ids):
            x = x[: len(batch.input_ids)]
        x = x.to(self.qa_outputs.weight.dtype)
        mask = draw_mask(batch, x, self.config.head_dropout, HEAD) if self.training else None
        x = dropped(x, mask, self.config.head_dropout, self.training)
        start_logits, end_logits = self.qa_outputs(x).unbind(dim=1)
        return start_logits, end_logits

    def _attention(
        self, batch: PackedBatch, precision: torch.dtype | None
    ) -> Callable[[int], Callable[[torch.Tensor], torch.Tensor]]:
        """Return the attention within a batch's windows at a depth: (T, 3, heads, size) -> (T, heads, size)."""
        dropout = self.config.attention_dropout if self.training else 0.0
        if dropout and batch.dropout_seeds is not None:
            inputs = attention_inputs(attend_per_window, batch)
            return lambda depth: partial(
                attend_per_window, dropout=dropout, seeds=place_seeds(batch, ATTENTION, depth), **inputs
            )
        head_size = self.config.hidden_size // self.config.heads
        way: Attend = choose_attention(batch.input_ids.device, precision, head_size=head_size)
        attend = partial(way, dropout=dropout, **attention_inputs(way, batch))
        return lambda _: attend

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
