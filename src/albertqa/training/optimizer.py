"""Optimizer and schedule of the recipe."""

import math

import torch


def build_optimizer(
    model: torch.nn.Module,
    *,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> torch.optim.AdamW:
    """Build AdamW; biases and LayerNorm are never decayed.

    Args:
        model: The model; parameters without gradient are left out.
        learning_rate: Peak learning rate.
        betas: Decay of the first and second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Decay of weight matrices.

    Returns:
        The optimizer, its parameters in the order of `model.named_parameters`.

    Source:
        Transformers' `Trainer`: what is called bias or lies in a LayerNorm is not decayed.
    """
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    decayed = [one for name, one in trained if not _is_undecayed(name)]
    undecayed = [one for name, one in trained if _is_undecayed(name)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def _is_undecayed(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(".bias") or "layernorm" in lowered or "layer_norm" in lowered


def rate_factor(step: int, *, total_steps: int, warmup_steps: int, schedule: str) -> float:
    """Give the factor on the peak learning rate at a step.

    Args:
        step: Optimizer step, from 0.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of the linear rise from zero.
        schedule: ``linear``, ``cosine`` or ``constant``, after the warm-up.

    Returns:
        From 0 to 1; the first step after the warm-up has 1, a step after the last would have 0 (not if constant).

    Source:
        Transformers' `get_linear_schedule_with_warmup` and its neighbours.
    """
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
