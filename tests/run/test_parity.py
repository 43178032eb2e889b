"""Fifty steps of the project's loop equal fifty steps of a plain Transformers + PyTorch loop (see `reference`).

The tolerance is 1e-5, relative, on every step's loss, fp32. What differs is the order of additions: packed against
padded rows, one fused activation kernel against a chain, a fused against a plain AdamW.

The trained models are compared by what they say of each window's tokens, as probabilities: a constant added to all of a
window's logits changes no loss, so it has no gradient but rounding, which Adam makes steps of.
"""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from albertqa.model.load import load_model
from albertqa.windows.batches import pack
from albertqa.windows.store import WindowStore

from .cases import train_ours
from .reference import Course, Trained, train_plainly

TOLERANCE = 1e-5
# Clipped at a norm that some steps have and others do not.
RECIPE = Course(max_grad_norm=2.5)
ACCUMULATED = Course(max_grad_norm=2.5, micro_batch=4, accumulation=2, warmup_steps=8, weight_decay=0.1)
SHORT = replace(ACCUMULATED, total_steps=25, max_grad_norm=4.5)


@pytest.fixture(scope="module")
def ours(tiny_weights: Path, store: WindowStore) -> Any:
    """Train by our loop, each course once."""
    return cache(lambda course: train_ours(tiny_weights, store, course))


def relative_difference(first: Trained, second: Trained) -> float:
    one, two = np.array(first.losses), np.array(second.losses)
    return float(np.max(np.abs(one - two) / np.abs(two)))


def log_probabilities(trained: Trained, folder: Path, store: WindowStore) -> torch.Tensor:
    model = load_model(folder, device=torch.device("cpu"))
    if isinstance(trained.model, PreTrainedModel):
        with tempfile.TemporaryDirectory() as saved:
            trained.model.save_pretrained(saved)
            model.load_weights(Path(saved))
    else:
        model.model.load_state_dict(trained.model.state_dict())
    batch = pack(store, range(16))
    with torch.no_grad():
        logits = model.logits(batch)
    return torch.cat([part.log_softmax(0) for one in logits for part in one.split(batch.lengths)])


@pytest.mark.parametrize(("attention", "is_padded"), [("eager", True), ("sdpa", True), ("eager", False)])
@pytest.mark.parametrize("course", [RECIPE, ACCUMULATED], ids=["recipe", "accumulation, warm-up, decay"])
def test_fifty_steps_give_the_losses_of_a_plain_loop(
    ours: Any, tiny_weights: Path, store: WindowStore, course: Course, attention: str, is_padded: bool
) -> None:
    expected = train_plainly(tiny_weights, store, course, attention=attention, is_padded=is_padded)
    found = ours(course)
    assert len(found.losses) == len(expected.losses) == 50
    np.testing.assert_allclose(found.losses, expected.losses, rtol=TOLERANCE)
    np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-3)
    torch.testing.assert_close(
        log_probabilities(found, tiny_weights, store),
        log_probabilities(expected, tiny_weights, store),
        rtol=1e-3,
        atol=1e-3,
    )


def test_the_courses_compared_are_not_idle(ours: Any, store: WindowStore) -> None:
    losses, norms = ours(RECIPE).losses, np.array(ours(RECIPE).norms)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert (norms > RECIPE.max_grad_norm).any()
    assert (norms < RECIPE.max_grad_norm).any()
    steps_per_epoch = len(store) / RECIPE.micro_batch
    assert 50 / steps_per_epoch > 1
    assert len(store) % RECIPE.micro_batch
    assert len(set(store.lengths.tolist())) > 5


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1.01e-3},
        {"total_steps": 24},
        {"warmup_steps": 7},
        {"weight_decay": 0.0},
        {"max_grad_norm": 4.6},
        {"seed": 43},
        {"micro_batch": 8},
    ],
    ids=str,
)
def test_the_tolerance_tells_small_differences(
    ours: Any, tiny_weights: Path, store: WindowStore, change: dict[str, Any]
) -> None:
    expected = train_plainly(tiny_weights, store, replace(SHORT, **change))
    found = ours(SHORT)
    found = replace(found, losses=found.losses[: len(expected.losses)])
    assert relative_difference(found, expected) > 5 * TOLERANCE


def test_four_times_four_windows_are_sixteen(ours: Any) -> None:
    at_once = ours(Course(micro_batch=16, total_steps=20))
    in_parts = ours(Course(micro_batch=4, accumulation=4, total_steps=20))
    np.testing.assert_allclose(in_parts.losses, at_once.losses, rtol=TOLERANCE)
    np.testing.assert_allclose(in_parts.norms, at_once.norms, rtol=1e-3)


def test_the_same_course_twice_is_bit_equal(tiny_weights: Path, store: WindowStore) -> None:
    course = Course(total_steps=5)
    first, second = (train_ours(tiny_weights, store, course) for _ in range(2))
    assert first.losses == second.losses
    weights = first.model.state_dict()
    assert all(torch.equal(one, weights[name]) for name, one in second.model.state_dict().items())
