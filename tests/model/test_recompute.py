"""Recomputing activations changes memory and time, and nothing else."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    PreTrainedModel,
)
from transformers.models.albert.modeling_albert import AlbertLayer

from albertqa.model.load import SpanModel
from albertqa.model.packed import span_losses, use_packed_attention
from albertqa.model.recompute import recompute_activations

from .cases import WIDE, random_batch

VOCAB_SIZE = 100
BATCH = random_batch((24, 60, 9, 41), VOCAB_SIZE)
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "embedding_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": WIDE,
}


def albert(dropout: float = 0.0, **changes: object) -> PreTrainedModel:
    """Make an ALBERT whose layers share their weights, as the published ones do."""
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return AlbertForQuestionAnswering(AlbertConfig(**{**SHAPE, **rates, **changes}))


def bert(dropout: float = 0.0) -> PreTrainedModel:
    """Make a BERT, for whose layers Transformers has a checkpointing of its own."""
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForQuestionAnswering(BertConfig(**shape, **rates))


def distilbert(dropout: float = 0.0) -> PreTrainedModel:
    """Make a DistilBERT, whose layers take and give other things than BERT's."""
    shape = {"dim": 32, "hidden_dim": 64, "n_layers": 6, "n_heads": 2, "vocab_size": VOCAB_SIZE}
    rates = {"dropout": dropout, "attention_dropout": dropout}
    return DistilBertForQuestionAnswering(DistilBertConfig(**shape, **rates, initializer_range=WIDE))


def opened(model: PreTrainedModel, autocast_dtype: torch.dtype | None = None) -> SpanModel:
    use_packed_attention(model)
    has_segments = getattr(model.config, "type_vocab_size", 0) >= 2
    return SpanModel(model.train(), torch.device("cpu"), autocast_dtype, has_segments, None)


def losses_and_gradients(model: SpanModel) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """Give losses, gradients, and the random state after them."""
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


@pytest.mark.parametrize("make", [albert, bert, distilbert])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("autocast_dtype", [None, torch.bfloat16])
def test_losses_and_gradients_are_the_same_to_the_bit(
    make: Callable[[float], PreTrainedModel], dropout: float, autocast_dtype: torch.dtype | None
) -> None:
    torch.manual_seed(0)
    model = opened(make(dropout), autocast_dtype)
    losses, gradients, rng = losses_and_gradients(model)
    assert recompute_activations(model.model)
    found_losses, found_gradients, found_rng = losses_and_gradients(model)
    assert torch.equal(found_losses, losses)
    assert found_gradients.keys() == gradients.keys() == dict(model.model.named_parameters()).keys()
    for name, gradient in gradients.items():
        assert torch.equal(found_gradients[name], gradient), name
    assert torch.equal(found_rng, rng)


def test_dropout_is_really_drawn_in_that_test() -> None:
    torch.manual_seed(0)
    model = opened(albert(0.1))
    first, _, _ = losses_and_gradients(model)
    assert not torch.equal(span_losses(*model.logits(BATCH), BATCH), first)


@pytest.mark.parametrize("make", [albert, bert, distilbert])
def test_a_layer_keeps_its_input_and_little_more(make: Callable[[float], PreTrainedModel]) -> None:
    model = opened(make(0.1))
    before = saved_bytes(model)
    recompute_activations(model.model)
    after = saved_bytes(model)
    assert after < before / 3
    inputs = 6 * sum(BATCH.lengths) * 32 * 4
    assert after >= inputs


def test_memory_grows_by_one_input_a_layer() -> None:
    kept = []
    for num_layers in (6, 12):
        model = opened(albert(0.1, num_hidden_layers=num_layers))
        recompute_activations(model.model)
        kept.append(saved_bytes(model))
    # Besides its input a layer keeps the random state it began with, which is no activation and not counted here.
    assert kept[1] - kept[0] == 6 * sum(BATCH.lengths) * 32 * 4


def test_saved_files_are_the_same(tmp_path: Path) -> None:
    model = opened(albert())
    model.save(tmp_path / "before")
    names = list(model.model.state_dict())
    recompute_activations(model.model)
    losses_and_gradients(model)
    model.save(tmp_path / "after")
    assert list(model.model.state_dict()) == names
    files = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "after").iterdir())
    for name in files:
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes(), name


def test_a_deep_copy_recomputes_with_its_own_weights() -> None:
    model = opened(albert())
    recompute_activations(model.model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.model.parameters():
            parameter.zero_()
    assert not torch.equal(losses_and_gradients(model)[0], losses_and_gradients(copied)[0])
    assert all(torch.equal(one, torch.zeros_like(one)) for one in copied.model.parameters())


def test_turning_it_on_twice_is_turning_it_on_once() -> None:
    model = opened(albert(0.1))
    recompute_activations(model.model)
    once = saved_bytes(model)
    recompute_activations(model.model)
    assert saved_bytes(model) == once


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
def test_a_compiled_layer_runs_as_written_again() -> None:
    model = opened(albert(0.1))
    plain = losses_and_gradients(model)
    for module in model.model.modules():
        if isinstance(module, AlbertLayer):
            module.compile(backend="eager")
    before = saved_bytes(model)
    recompute_activations(model.model)
    assert saved_bytes(model) < before / 3
    found = losses_and_gradients(model)
    assert torch.equal(found[0], plain[0])
    assert all(torch.equal(found[1][name], gradient) for name, gradient in plain[1].items())


def test_evaluation_computes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(albert())
    recompute_activations(model.model)

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("checkpointed without a backward pass to come")

    monkeypatch.setattr("albertqa.model.recompute.checkpoint", refuse)
    with torch.no_grad():
        model.logits(BATCH)
    with torch.inference_mode():
        model.logits(BATCH)


def test_a_model_without_known_layers_is_left_as_it_is() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

    model = Plain()
    assert not recompute_activations(model)
    assert "forward" not in vars(model.layer)
