"""Compiled layers compute the same, are compiled once for batches of any sizes, and are saved as if they were not.

PyTorch's tracing and its autograd are tested here, without the code generation that takes minutes (`aot_eager`); the
generated kernels run in `test_cuda`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from albertqa.model import linear
from albertqa.model.compiled import compile_layer
from albertqa.model.encoder import Layer
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.windows.batches import PackedBatch

from .cases import random_batch
from .families import JUDGES, judge, ours_of

# Dynamo hides this warning of its own where it is shown, which does not help where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = [(100, 20, 30), (7, 9), (64,), (200, 3, 3, 4, 5, 90), (200, 56), (300, 20), (10,) * 17]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget afterwards what was compiled."""
    yield
    torch._dynamo.reset()


def run(model: SpanModel, batch: PackedBatch) -> list[torch.Tensor]:
    model.model.zero_grad()
    losses = span_losses(*model.logits(batch), batch)
    losses.mean().backward()
    return [losses.detach(), *(one.grad.clone() for one in model.model.parameters())]


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_it_computes_the_same_and_is_ready_for_any_windows_after_the_trial(
    family: str, precision: torch.dtype | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fused products add bias and residual before they round; `test_fused_linear` compares them.
    monkeypatch.setattr(linear, "_has_fused_products", lambda: False)
    changes = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 310, "initializer_range": 0.05}
    model = replace(ours_of(judge(family, changes), tmp_path), autocast_dtype=precision)
    model.model.train()
    batches = [random_batch(lengths, VOCAB_SIZE) for lengths in LENGTHS]
    expected = [run(model, batch) for batch in batches]
    names = list(model.model.state_dict())
    counter = CompileCounterWithBackend("aot_eager")
    assert compile_layer(model, backend=counter) is None
    assert all(one.grad is None for one in model.model.parameters())
    after_trial = counter.frame_count
    # The first number of tokens is compiled for itself at most; all layers share what is compiled.
    assert 1 <= after_trial <= 2
    for batch, tensors in zip(batches, expected, strict=True):
        for found, reference in zip(run(model, batch), tensors, strict=True):
            assert float((found - reference).norm()) <= (1e-5 if precision is None else 0.02) * float(reference.norm())
    # So a resumed run goes on with the same kernels, whatever its next step is.
    assert counter.frame_count == after_trial
    assert list(model.model.state_dict()) == names


def test_trying_the_compiled_layer_uses_no_random_number_and_keeps_the_mode(tiny_weights: Path) -> None:
    model = load_model(tiny_weights, device=CPU, hidden_dropout=0.1)
    state = torch.get_rng_state()
    assert compile_layer(model, backend="eager") is None
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.model.training


def test_a_compiled_model_is_saved_and_loaded_as_one_that_is_not(tiny_weights: Path, tmp_path: Path) -> None:
    model = load_model(tiny_weights, device=CPU)
    assert compile_layer(model, backend="eager") is None
    model.save(tmp_path)
    again, before = load_model(tmp_path, device=CPU), load_model(tiny_weights, device=CPU)
    for name, weight in before.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_where_compiling_fails_the_layer_runs_as_before_and_the_reason_is_told(
    tiny_weights: Path, error: type[Exception]
) -> None:
    def broken(_graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        raise error("no C compiler found\nlong story")

    model = load_model(tiny_weights, device=CPU)
    batch = random_batch((9, 4), VOCAB_SIZE)
    expected = run(model, batch)
    reason = compile_layer(model, backend=broken)
    assert reason == f"{error.__name__}: no C compiler found"
    assert all(torch.equal(*pair) for pair in zip(run(model, batch), expected, strict=True))
    assert model.model.after_attention is Layer.after_attention
