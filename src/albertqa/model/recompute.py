"""Recompute activations in the backward pass instead of keeping them: less memory, about a third more arithmetic.

Every encoder layer keeps only its input; what lies between is computed again when the backward pass comes to it. The
random state is put back for that, so losses and gradients are the same to the bit, dropout included. Transformers has
this for most encoders but not for ALBERT; here one way serves them all, and names and saved files stay as they are.
"""

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def recompute_activations(model: "PreTrainedModel") -> bool:
    """Let an encoder's layers recompute their activations from now on; once or more often, it is the same.

    Args:
        model: ALBERT, or an encoder that Transformers can checkpoint.

    Returns:
        Whether the model has such layers.

    Source:
        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4, with every layer a segment.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer
    from transformers.models.albert.modeling_albert import AlbertLayer

    layers = [module for module in model.modules() if isinstance(module, AlbertLayer | GradientCheckpointingLayer)]
    for layer in layers:
        # A method of this one object: `state_dict` does not see it, and a deep copy of the layer gets its own.
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
        # What was compiled (`albertqa.model.compiled`) would go on keeping what it computes.
        layer._compiled_call_impl = None
    return bool(layers)


def _forward(layer: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Do what the layer's class does, without keeping what it computes on the way."""
    forward = MethodType(type(layer).forward, layer)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
