"""Optimizer and schedule of the recipe."""

import math

import torch

from albertqa.config import OptimizerConfig
from albertqa.rundir.run_json import Plan


def build_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW; biases and LayerNorm are never decayed.

    Args:
        model: The model; parameters without gradient are left out.
        config: Learning rate, betas, epsilon, weight decay.

    Returns:
        The optimizer, its parameters in the order of `model.named_parameters`.

    Source:
        Transformers' `Trainer`: what is called bias or lies in a LayerNorm is not decayed.
    """
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    decayed = [one for name, one in trained if not _is_undecayed(name)]
    undecayed = [one for name, one in trained if _is_undecayed(name)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    betas = (config.adam_beta1, config.adam_beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.adam_epsilon, fused=True)


def _is_undecayed(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(".bias") or "layernorm" in lowered or "layer_norm" in lowered


def rate_factor(step: int, *, total_steps: int, warmup_steps: int, schedule: str) -> float:
    """Return the factor on the peak learning rate at a step.

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


def scheduled_rate(config: OptimizerConfig, plan: Plan, step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    return config.learning_rate * rate_factor(
        step, total_steps=plan.total_steps, warmup_steps=plan.warmup_steps, schedule=config.lr_scheduler_type
    )
