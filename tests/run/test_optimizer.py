"""Schedule and weight decay are those of Transformers' Trainer."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AlbertConfig, AlbertForQuestionAnswering, Trainer
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from albertqa.config import OptimizerConfig
from albertqa.run.optimizer import build_optimizer, rate_factor


def plain_factors(schedule: str, total_steps: int, warmup_steps: int) -> list[float]:
    """Give the factor of every step by Transformers' schedulers."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: Any = {
        "linear": lambda: get_linear_schedule_with_warmup(optimizer, warmup_steps, total_steps),
        "cosine": lambda: get_cosine_schedule_with_warmup(optimizer, warmup_steps, total_steps),
        "constant": lambda: get_constant_schedule_with_warmup(optimizer, warmup_steps),
    }[schedule]()
    factors = []
    for _ in range(total_steps):
        factors.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return factors


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["linear", "cosine", "constant"]), st.integers(1, 120), st.integers(0, 130))
def test_every_steps_rate_equals_transformers_scheduler(schedule: str, total_steps: int, warmup_steps: int) -> None:
    found = [
        rate_factor(step, total_steps=total_steps, warmup_steps=warmup_steps, schedule=schedule)
        for step in range(total_steps)
    ]
    assert found == pytest.approx(plain_factors(schedule, total_steps, warmup_steps), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_first_step_after_the_warm_up_has_the_peak_rate(schedule: str) -> None:
    factors = [rate_factor(step, total_steps=100, warmup_steps=10, schedule=schedule) for step in range(100)]
    assert factors[0] == 0
    assert factors[10] == max(factors) == 1
    assert all(factor > 0 for factor in factors[1:])


@pytest.fixture(scope="module")
def albert() -> AlbertForQuestionAnswering:
    """An ALBERT of base's names: 12 layers, one group."""
    config = AlbertConfig(hidden_size=24, num_attention_heads=12, intermediate_size=96, embedding_size=8, vocab_size=99)
    return AlbertForQuestionAnswering(config)


def names_of(model: torch.nn.Module, group: dict[str, Any]) -> set[str]:
    ids = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


def test_decay_groups_are_those_of_the_trainer(albert: AlbertForQuestionAnswering) -> None:
    decayed, undecayed = build_optimizer(albert, OptimizerConfig(learning_rate=1e-3, weight_decay=0.1)).param_groups
    names = {name for name, _ in albert.named_parameters()}
    expected = set(Trainer.get_decay_parameter_names(None, albert))
    assert names_of(albert, decayed) == expected
    assert names_of(albert, undecayed) == names - expected
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.1, 0.0)
    assert any("full_layer_layer_norm" in name for name in names - expected)
    assert len(decayed["params"]) + len(undecayed["params"]) == len(names)


def test_parameters_without_gradient_are_left_out(albert: AlbertForQuestionAnswering) -> None:
    frozen = albert.albert.embeddings.word_embeddings.weight
    frozen.requires_grad_(False)
    try:
        groups = build_optimizer(albert, OptimizerConfig(learning_rate=1e-3)).param_groups
    finally:
        frozen.requires_grad_(True)
    assert not any(one is frozen for group in groups for one in group["params"])


def test_the_defaults_are_the_recipes(albert: AlbertForQuestionAnswering) -> None:
    defaults = build_optimizer(albert, OptimizerConfig()).defaults
    assert (defaults["lr"], defaults["betas"], defaults["eps"]) == (3e-5, (0.9, 0.999), 1e-8)
    assert not defaults["amsgrad"]
