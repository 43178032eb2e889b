"""Compile ALBERT's layer: its element-wise operations run as few kernels, between matrix products and attention.

ALBERT uses one layer twelve times, so compiling it once compiles the encoder. Names and saved files stay as they are:
what changes is how the layer is called (`torch.nn.Module.compile`), and not what it is.
"""

from collections.abc import Callable
from functools import partial
from subprocess import SubprocessError
from typing import Any

import torch

from albertqa.model.load import SpanModel
from albertqa.model.packed import span_losses
from albertqa.windows.batches import PackedBatch

_TRIED_TOKENS = (256, 320)


def compile_layer(model: SpanModel, *, backend: str | Callable[..., Any] = "inductor") -> str | None:
    """Compile an ALBERT's layer, and try it with one forward and backward.

    Args:
        model: The model, on its device and in its precision.
        backend: PyTorch's compiler.

    Returns:
        None where it is compiled; else the reason why it runs as before.
    """
    from transformers.models.albert.modeling_albert import AlbertLayer

    layers = [module for module in model.model.modules() if isinstance(module, AlbertLayer)]
    if not layers:
        return f"{model.model.config.model_type} is not ALBERT"
    for layer in layers:
        # As `layer.compile` does it, but for the sizes.
        compiled = torch.compile(layer._call_impl, backend=backend)
        layer._compiled_call_impl = partial(_call_with_any_sizes, compiled)
    try:
        _try(model)
    except (RuntimeError, OSError, SubprocessError) as error:
        # No Triton, no C compiler, too old a GPU, too little memory: whatever it is, the layer runs without, too.
        for layer in layers:
            layer._compiled_call_impl = None
        cause = getattr(error, "inner_exception", error)
        return f"{type(cause).__name__}: {(str(cause).strip() or 'no reason given').splitlines()[0]}"
    return None


def _call_with_any_sizes(
    compiled: Callable[..., torch.Tensor], hidden_states: torch.Tensor, *args: Any, windows: dict[str, Any], **more: Any
) -> torch.Tensor:
    """Call the compiled layer, which is to be compiled for any number of tokens and windows, not anew for each."""
    torch._dynamo.maybe_mark_dynamic(hidden_states, 1)
    for value in windows.values():
        if isinstance(value, torch.Tensor):
            torch._dynamo.maybe_mark_dynamic(value, 0)
    return compiled(hidden_states, *args, windows=windows, **more)


def _try(model: SpanModel) -> None:
    """Run a forward and backward as in training that leave no trace: no gradient, no mode, no random number used."""
    was_training = model.model.training
    model.model.train()
    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            # The second number of tokens is what makes the parts around an attention that is not compiled ready for
            # any: from then on every step runs the same kernels, whichever step it is.
            for tokens in _TRIED_TOKENS:
                batch = _some_windows(tokens).to(model.device)
                span_losses(*model.logits(batch), batch).sum().backward()
    finally:
        model.model.zero_grad(set_to_none=True)
        model.model.train(was_training)


def _some_windows(tokens: int) -> PackedBatch:
    lengths = (100, 80, tokens - 180)
    return PackedBatch(
        input_ids=torch.zeros(sum(lengths), dtype=torch.int64),
        token_type_ids=torch.zeros(sum(lengths), dtype=torch.int64),
        position_ids=torch.cat([torch.arange(length) for length in lengths]),
        first_token=torch.tensor([0, *lengths]).cumsum(0),
        lengths=lengths,
        longest=max(lengths),
        start_positions=torch.zeros(len(lengths), dtype=torch.int64),
        end_positions=torch.zeros(len(lengths), dtype=torch.int64),
    )
