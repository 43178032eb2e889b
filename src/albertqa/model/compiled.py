"""Compile the part of a layer that treats every token alone: its element-wise operations run as few kernels.

All layers share one compiled function, for any number of tokens. Attention is no part of it.
"""

from collections.abc import Callable
from dataclasses import replace
from subprocess import SubprocessError
from typing import Any

import torch

from albertqa.files import first_line
from albertqa.model.dropout import seeds_of_pass
from albertqa.model.encoder import Layer, Masks
from albertqa.model.linear import Weights
from albertqa.model.load import SpanModel
from albertqa.model.span_loss import span_losses
from albertqa.windows.batches import PackedBatch

_TRIED_TOKENS = (256, 320)


def compile_layer(model: SpanModel, *, backend: str | Callable[..., Any] = "inductor") -> str | None:
    """Compile the layers of a model, on its device and in its precision, and try them with a forward and backward.

    Returns:
        None where they are compiled; else the reason why they run as before.
    """
    compiled = torch.compile(Layer.after_attention, backend=backend)

    def after_attention(
        layer: Layer, x: torch.Tensor, attended: torch.Tensor, weights: tuple[Weights, ...], masks: Masks
    ) -> torch.Tensor:
        # For any number of tokens, not anew for each.
        for one in (x, attended, *(mask for mask in masks if mask is not None)):
            torch._dynamo.maybe_mark_dynamic(one, 0)
        return compiled(layer, x, attended, weights, masks)

    model.model.after_attention = after_attention
    try:
        _try(model)
    except (RuntimeError, OSError, SubprocessError) as error:
        # No Triton, no C compiler, too old a GPU, too little memory: the layers run without a compiler, too.
        model.model.after_attention = Layer.after_attention
        cause = getattr(error, "inner_exception", error)
        return f"{type(cause).__name__}: {first_line(cause)}"
    return None


def _try(model: SpanModel) -> None:
    """Run a forward and backward as in training that leave no trace: no gradient, no mode, no random number used."""
    was_training = model.model.training
    model.model.train()
    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            # With a second number of tokens, kernels are ready for any: from then on every step runs the same ones.
            for tokens in _TRIED_TOKENS:
                seeds = seeds_of_pass(model.device, 0, 0, range(3))
                batch = replace(_some_windows(tokens), dropout_seeds=seeds).to(model.device)
                span_losses(*model.logits(batch), batch).sum().backward()
    finally:
        model.model.zero_grad(set_to_none=True)
        model.model.train(was_training)


def _some_windows(tokens: int) -> PackedBatch:
    lengths = (100, 80, tokens - 180)
    # Zeros are in the range of every table of embeddings.
    zeros = torch.zeros(tokens, dtype=torch.int64)
    return PackedBatch(
        input_ids=zeros,
        token_type_ids=zeros,
        position_ids=zeros,
        first_token=torch.tensor([0, *lengths]).cumsum(0),
        lengths=lengths,
        longest=max(lengths),
        start_positions=zeros[: len(lengths)],
        end_positions=zeros[: len(lengths)],
    )
