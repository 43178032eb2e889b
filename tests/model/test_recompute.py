"""Recomputing activations changes memory and time, and nothing else."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from albertqa.model import encoder
from albertqa.model.compiled import compile_layer
from albertqa.model.load import SpanModel
from albertqa.model.span_loss import span_losses

from .cases import random_batch
from .families import JUDGES, VOCAB_SIZE, judge, ours_of

BATCH = random_batch((24, 60, 9, 41), VOCAB_SIZE)
LAYERS, HIDDEN = 6, 32
Open = Callable[..., SpanModel]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Load a small encoder, in training."""

    def load(family: str = "albert", dropout: float = 0.0, layers: int = LAYERS) -> SpanModel:
        changes = {
            "num_hidden_layers": layers,
            "hidden_size": HIDDEN,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
        model = ours_of(judge(family, changes), tmp_path / f"{family}-{dropout}-{layers}")
        model.model.train()
        return model

    return load


def losses_and_gradients(model: SpanModel) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """Return losses, gradients, and the random state after them."""
    torch.manual_seed(7)
    model.model.zero_grad()
    losses = span_losses(*model.logits(BATCH), BATCH)
    losses.mean().backward()
    gradients = {name: one.grad.clone() for name, one in model.model.named_parameters() if one.grad is not None}
    return losses.detach(), gradients, torch.get_rng_state()


def saved_bytes(model: SpanModel) -> int:
    """Count what the forward pass keeps for the backward pass, weights left out."""
    weights = {one.untyped_storage().data_ptr() for one in model.model.parameters()}
    kept: dict[int, int] = {}
    # Every kept tensor stays alive until the count is done, or an address might stand for two.
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        span_losses(*model.logits(BATCH), BATCH)
    return sum(kept.values())


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_losses_and_gradients_are_the_same_to_the_bit(
    opened: Open, family: str, dropout: float, precision: torch.dtype | None
) -> None:
    model = replace(opened(family, dropout), autocast_dtype=precision)
    losses, gradients, rng = losses_and_gradients(model)
    model.recompute_activations()
    found_losses, found_gradients, found_rng = losses_and_gradients(model)
    assert torch.equal(found_losses, losses)
    assert found_gradients.keys() == gradients.keys() == dict(model.model.named_parameters()).keys()
    for name, gradient in gradients.items():
        assert torch.equal(found_gradients[name], gradient), name
    assert torch.equal(found_rng, rng)


def test_dropout_is_really_drawn_in_that_test(opened: Open) -> None:
    model = opened(dropout=0.1)
    first, _, _ = losses_and_gradients(model)
    assert not torch.equal(span_losses(*model.logits(BATCH), BATCH), first)


@pytest.mark.parametrize("family", ["albert", "bert", "distilbert"])
def test_a_layer_keeps_its_input_and_little_more(opened: Open, family: str) -> None:
    model = opened(family, 0.1)
    before = saved_bytes(model)
    model.recompute_activations()
    after = saved_bytes(model)
    assert after < before / 3
    assert after >= LAYERS * BATCH.num_tokens * HIDDEN * 4


def test_memory_grows_by_one_input_a_layer(opened: Open) -> None:
    kept = []
    for layers in (6, 12):
        model = opened(dropout=0.1, layers=layers)
        model.recompute_activations()
        kept.append(saved_bytes(model))
    # Besides its input a layer keeps the random state it began with, which is no activation and not counted here.
    assert kept[1] - kept[0] == 6 * BATCH.num_tokens * HIDDEN * 4


def test_saved_files_are_the_same(opened: Open, tmp_path: Path) -> None:
    model = opened()
    folders = tmp_path / "before", tmp_path / "after"
    for folder in folders:
        folder.mkdir()
        model.save(folder)
        model.recompute_activations()
        losses_and_gradients(model)
    files = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert files[0] == files[1]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files[0])


def test_a_deep_copy_recomputes_with_its_own_weights(opened: Open) -> None:
    model = opened()
    model.recompute_activations()
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.model.parameters():
            parameter.zero_()
    assert not torch.equal(losses_and_gradients(model)[0], losses_and_gradients(copied)[0])
    assert all(torch.equal(one, torch.zeros_like(one)) for one in copied.model.parameters())


def test_turning_it_on_twice_is_turning_it_on_once(opened: Open) -> None:
    model = opened(dropout=0.1)
    model.recompute_activations()
    once = saved_bytes(model)
    model.recompute_activations()
    assert saved_bytes(model) == once


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
def test_a_compiled_layer_runs_as_written_again(opened: Open) -> None:
    model = opened(dropout=0.1)
    plain = losses_and_gradients(model)
    assert compile_layer(model, backend="eager") is None
    before = saved_bytes(model)
    model.recompute_activations()
    assert saved_bytes(model) < before / 3
    found = losses_and_gradients(model)
    assert torch.equal(found[0], plain[0])
    assert all(torch.equal(found[1][name], gradient) for name, gradient in plain[1].items())
    torch._dynamo.reset()


def test_evaluation_computes_once(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened()
    model.recompute_activations()

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("checkpointed without a backward pass to come")

    monkeypatch.setattr(encoder, "checkpoint", refuse)
    with torch.no_grad():
        model.logits(BATCH)
    with torch.inference_mode():
        model.logits(BATCH)
