"""The regularizers are what their papers define, window by window, and without them the objective is the recipe's."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AlbertForQuestionAnswering

from albertqa import files
from albertqa.data.reading import load_examples
from albertqa.errors import SettingsError
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.run.objective import (
    Objective,
    build_objective,
    smoothed_span_losses,
    span_objective,
    symmetric_divergences,
)
from albertqa.run.recipe import train
from albertqa.windows.batches import PackedBatch, epoch_order, pack
from albertqa.windows.build import windows_in_memory
from albertqa.windows.tokenizer import QATokenizer
from model.cases import random_batch
from model.families import by_their_names

from .cases import rows_in, small_run

CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = (3, 40, 1, 17)
SHARES = st.floats(0.01, 0.99)
MANY_LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**16)


def draw_logits(num_tokens: int, seed: int, scale: float = 3.0) -> torch.Tensor:
    drawn = torch.randn(num_tokens, generator=torch.Generator().manual_seed(seed))
    return (scale * drawn).requires_grad_()


def smoothed_by_torch(logits: torch.Tensor, labels: torch.Tensor, lengths: Sequence[int], share: float) -> torch.Tensor:
    """Smooth one window after the other by PyTorch's own cross entropy, so that there is no padding to leave out."""
    parts = zip(logits.split(list(lengths)), labels, strict=True)
    return torch.stack([functional.cross_entropy(part, label, label_smoothing=share) for part, label in parts])


def smoothed_by_definition(
    logits: torch.Tensor, labels: torch.Tensor, lengths: Sequence[int], share: float
) -> torch.Tensor:
    """Cross entropy of each window's softmax against the smoothed target, in float64."""
    losses = []
    for part, label in zip(logits.double().split(list(lengths)), labels, strict=True):
        target = torch.full_like(part, share / len(part))
        target[label] += 1 - share
        losses.append(-(target * (part.exp() / part.exp().sum()).log()).sum())
    return torch.stack(losses)


def divergence_by_torch(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Symmetric divergence of one window by PyTorch's own, as the authors of R-Drop compute it."""
    p, q = (one.log_softmax(dim=0) for one in (first, second))
    one_way = functional.kl_div(p, q, reduction="sum", log_target=True)
    return (one_way + functional.kl_div(q, p, reduction="sum", log_target=True)) / 2


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def run(objective: Objective, model: SpanModel, batch: PackedBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Give an objective's losses and the gradients of their mean, in training mode, with one and the same dropout."""
    model.model.train()
    model.model.zero_grad()
    torch.manual_seed(11)
    losses = objective(model, batch)
    losses.mean().backward()
    return losses.detach(), gradients_of(model.model)


@pytest.fixture(scope="module")
def model(tiny_weights: Path) -> SpanModel:
    """A tiny ALBERT with both kinds of dropout."""
    return load_model(tiny_weights, device=CPU, hidden_dropout=0.1, attention_dropout=0.1)


def test_without_regularizers_the_objective_is_the_recipes() -> None:
    assert build_objective() is span_objective
    assert build_objective(label_smoothing=0.0, r_drop_alpha=0.0) is span_objective


@settings(max_examples=30, deadline=None)
@given(MANY_LENGTHS, SHARES, SEEDS)
def test_smoothed_losses_are_torchs_of_each_window_alone(lengths: list[int], share: float, seed: int) -> None:
    batch = random_batch(lengths, VOCAB_SIZE, seed=seed)
    start, end = draw_logits(batch.num_tokens, seed), draw_logits(batch.num_tokens, seed + 1)
    losses = smoothed_span_losses(start, end, batch, label_smoothing=share)
    expected = (
        smoothed_by_torch(start, batch.start_positions, lengths, share)
        + smoothed_by_torch(end, batch.end_positions, lengths, share)
    ) / 2
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    found = torch.autograd.grad(losses.sum(), (start, end))
    for gradient, reference in zip(found, torch.autograd.grad(expected.sum(), (start, end)), strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_smoothed_target_is_spread_over_all_real_tokens_of_the_window(share: float) -> None:
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    start, end = (draw_logits(batch.num_tokens, seed).detach() for seed in (1, 2))
    losses = smoothed_span_losses(start, end, batch, label_smoothing=share)
    expected = (
        smoothed_by_definition(start, batch.start_positions, LENGTHS, share)
        + smoothed_by_definition(end, batch.end_positions, LENGTHS, share)
    ) / 2
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-6)


def test_no_smoothing_is_the_recipes_loss_to_the_bit() -> None:
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    start, end = (draw_logits(batch.num_tokens, seed) for seed in (1, 2))
    assert torch.equal(smoothed_span_losses(start, end, batch, label_smoothing=0.0), span_losses(start, end, batch))


def test_a_sure_and_right_model_is_asked_to_be_less_sure() -> None:
    batch = random_batch((20,), VOCAB_SIZE)
    logits = torch.zeros(20)
    logits[batch.start_positions] = 20.0
    logits.requires_grad_()
    end = torch.zeros(20)
    plain = torch.autograd.grad(span_losses(logits, end, batch).sum(), logits)[0]
    smoothed = torch.autograd.grad(smoothed_span_losses(logits, end, batch, label_smoothing=0.1).sum(), logits)[0]
    assert plain[batch.start_positions] <= 0
    assert smoothed[batch.start_positions] > 0


@settings(max_examples=30, deadline=None)
@given(MANY_LENGTHS, st.sampled_from([0.1, 3.0, 100.0]), SEEDS)
def test_divergences_are_torchs_of_each_window_alone_and_never_negative(
    lengths: list[int], scale: float, seed: int
) -> None:
    first, second = (draw_logits(sum(lengths), seed + one, scale) for one in (0, 1))
    divergences = symmetric_divergences(first, second, random_batch(lengths, VOCAB_SIZE))
    pairs = zip(first.split(lengths), second.split(lengths), strict=True)
    expected = torch.stack([divergence_by_torch(*pair) for pair in pairs])
    assert (divergences >= 0).all()
    torch.testing.assert_close(divergences, expected, rtol=1e-4, atol=1e-6)
    found = torch.autograd.grad(divergences.sum(), (first, second))
    for gradient, reference in zip(found, torch.autograd.grad(expected.sum(), (first, second)), strict=True):
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_r_drop_is_two_passes_by_the_models_own_code_with_the_same_dropout(tiny_weights: Path, share: float) -> None:
    # One window alone has the same shapes packed and plain, so the same seed drops the same hidden states.
    alpha, batch = 0.7, random_batch((37,), VOCAB_SIZE)
    plain = AlbertForQuestionAnswering.from_pretrained(
        tiny_weights, attn_implementation="eager", hidden_dropout_prob=0.1
    ).train()
    torch.manual_seed(11)
    passes = [plain(input_ids=batch.input_ids[None], token_type_ids=batch.token_type_ids[None]) for _ in range(2)]
    entropies = [
        functional.cross_entropy(logits, labels, label_smoothing=share)
        for one in passes
        for logits, labels in ((one.start_logits, batch.start_positions), (one.end_logits, batch.end_positions))
    ]
    divergences = [
        divergence_by_torch(passes[0].start_logits[0], passes[1].start_logits[0]),
        divergence_by_torch(passes[0].end_logits[0], passes[1].end_logits[0]),
    ]
    expected = sum(entropies) / 4 + alpha * sum(divergences) / 2
    expected.backward()

    ours = load_model(tiny_weights, device=CPU, hidden_dropout=0.1)
    losses, _ = run(build_objective(label_smoothing=share, r_drop_alpha=alpha), ours, batch)
    gradients = by_their_names(ours.model, "albert", lambda parameter: parameter.grad)
    assert sum(divergences) > 0.01
    torch.testing.assert_close(losses[0], expected.detach(), rtol=1e-5, atol=1e-5)
    references = gradients_of(plain)
    largest = max(float(one.abs().max()) for one in references.values())
    assert gradients.keys() == references.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, references[name], rtol=1e-4, atol=1e-5 * largest)


def test_r_drop_over_several_windows_is_its_formula_with_the_same_dropout(model: SpanModel) -> None:
    alpha, batch = 2.0, random_batch(LENGTHS, VOCAB_SIZE)

    def by_formula(model: SpanModel, batch: PackedBatch) -> torch.Tensor:
        passes = [model.logits(batch) for _ in range(2)]
        entropies = [span_losses(*logits, batch) for logits in passes]
        divergences = []
        for first, second in zip(*passes, strict=True):
            pairs = zip(first.split(batch.lengths), second.split(batch.lengths), strict=True)
            divergences.append(torch.stack([divergence_by_torch(*pair) for pair in pairs]))
        return sum(entropies) / 2 + alpha * sum(divergences) / 2

    losses, gradients = run(build_objective(r_drop_alpha=alpha), model, batch)
    expected, references = run(by_formula, model, batch)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    largest = max(float(one.abs().max()) for one in references.values())
    for name, gradient in gradients.items():
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, references[name], rtol=1e-4, atol=1e-6 * largest)


def test_where_nothing_is_dropped_r_drop_is_the_recipes_loss(tiny_weights: Path) -> None:
    sure = load_model(tiny_weights, device=CPU)
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    losses, _ = run(build_objective(r_drop_alpha=5.0), sure, batch)
    expected, _ = run(span_objective, sure, batch)
    assert torch.equal(losses, expected)


def test_smoothing_alone_passes_the_windows_once(model: SpanModel) -> None:
    # The random generator tells how often dropout was drawn.
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    after = []
    for objective in (span_objective, build_objective(label_smoothing=0.1), build_objective(r_drop_alpha=1.0)):
        run(objective, model, batch)
        after.append(torch.get_rng_state())
    assert torch.equal(after[0], after[1])
    assert not torch.equal(after[0], after[2])


def test_a_run_minimizes_what_its_settings_say(tiny_weights: Path, tokenizer: QATokenizer, tmp_path: Path) -> None:
    result = train(small_run(tiny_weights, tmp_path / "run", max_steps=1, label_smoothing_factor=0.3))
    settings = small_run(tiny_weights, tmp_path / "run")
    store = windows_in_memory(
        load_examples("starter:train", limit=settings.max_train_examples),
        tokenizer,
        max_seq_length=settings.max_seq_length,
        doc_stride=settings.doc_stride,
    )
    batch = pack(store, epoch_order(len(store), seed=settings.seed, epoch=0)[: settings.train_batch_size])
    losses, _ = run(build_objective(label_smoothing=0.3), load_model(tiny_weights, device=CPU), batch)
    first = rows_in(result.run)[0]
    assert first["train_loss"] == pytest.approx(float(losses.mean()), rel=1e-6)
    assert first["train_loss"] != pytest.approx(
        float(run(span_objective, load_model(tiny_weights, device=CPU), batch)[0].mean()), rel=1e-3
    )


def test_r_drop_without_any_dropout_is_refused_in_one_line(tiny_weights: Path, tmp_path: Path) -> None:
    settings = small_run(tiny_weights, tmp_path / "run", r_drop_alpha=1.5)
    with pytest.raises(SettingsError) as caught:
        train(settings)
    assert str(caught.value) == (
        f"r_drop_alpha is 1.5, but {tiny_weights} has no dropout, so both passes of R-Drop would be the same. "
        "Give it some: --hidden-dropout 0.1"
    )
    assert not (settings.output_dir / files.CONFIG_TOML).exists()


@pytest.mark.parametrize("kind", ["hidden_dropout", "attention_dropout", "head_dropout"])
def test_any_dropout_is_enough_for_r_drop(kind: str, tiny_weights: Path, tmp_path: Path) -> None:
    changes = {kind: 0.5}
    with_it = train(small_run(tiny_weights, tmp_path / "with", max_steps=1, r_drop_alpha=10.0, **changes))
    plain = train(small_run(tiny_weights, tmp_path / "plain", max_steps=1, **changes))
    losses = [rows_in(result.run)[0]["train_loss"] for result in (with_it, plain)]
    assert losses[0] > losses[1] + 0.01
