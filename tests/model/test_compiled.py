"""The compiled layer computes the same, is compiled once for batches of any sizes, and is saved as if it were not.

PyTorch's tracing and its autograd are tested here, without the code generation that takes minutes (`aot_eager`); the
generated kernels run in `test_cuda`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import BertConfig, BertForQuestionAnswering

from albertqa.model import packed
from albertqa.model.attention import attend_varlen
from albertqa.model.compiled import compile_layer
from albertqa.model.load import SpanModel, load_model
from albertqa.model.packed import span_losses
from albertqa.windows.batches import PackedBatch, with_tail

from . import flash_reference  # noqa: F401 -- FlashAttention's stand-in
from .cases import random_batch

# Dynamo hides this warning of its own where it is shown, which does not help where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = [(100, 20, 30), (7, 9), (64,), (200, 3, 3, 4, 5, 90)]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget afterwards what was compiled."""
    yield
    torch._dynamo.reset()


@pytest.fixture
def _varlen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as on a GPU."""
    monkeypatch.setattr(packed, "choose_attention", lambda *_: attend_varlen)


def run(model: SpanModel, batch: PackedBatch) -> list[torch.Tensor]:
    model.model.zero_grad()
    losses = span_losses(*model.logits(batch), batch)
    losses.mean().backward()
    return [losses.detach(), *(one.grad.clone() for one in model.model.parameters())]


def same_when_compiled(folder: Path, batches: Sequence[PackedBatch]) -> tuple[CompileCounterWithBackend, int]:
    """Compare a compiled layer with the plain one; give what counted the compilations, and their number before."""
    model = load_model(folder, device=CPU)
    model.model.train()
    expected = [run(model, batch) for batch in batches]
    names = list(model.model.state_dict())
    counter = CompileCounterWithBackend("aot_eager")
    assert compile_layer(model, backend=counter) is None
    assert all(one.grad is None for one in model.model.parameters())
    after_trial = counter.frame_count
    assert after_trial >= 1
    for batch, tensors in zip(batches, expected, strict=True):
        for found, reference in zip(run(model, batch), tensors, strict=True):
            torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-6)
    assert list(model.model.state_dict()) == names
    return counter, after_trial


@pytest.mark.usefixtures("_varlen")
def test_the_compiled_layer_computes_the_same_and_is_compiled_once_for_all_sizes(tiny_weights: Path) -> None:
    batches = [with_tail(random_batch(lengths, VOCAB_SIZE), 256) for lengths in LENGTHS]
    counter, after_trial = same_when_compiled(tiny_weights, batches)
    # `longest` is a number of the program: the first other value of it is one more reason to compile, the next none.
    assert counter.frame_count <= 2 * after_trial


def test_on_a_cpu_it_is_ready_for_any_windows_after_the_trial(tiny_weights: Path) -> None:
    lengths = [*LENGTHS, (200, 56), (300, 20), (10,) * 17]
    counter, after_trial = same_when_compiled(
        tiny_weights, [random_batch(one, VOCAB_SIZE) for one in lengths if len(one) > 1]
    )
    # So a resumed run goes on with the same kernels, whatever its next step is.
    assert counter.frame_count == after_trial


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
    assert (tmp_path / "config.json").read_text() == (tiny_weights / "config.json").read_text()
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


def test_other_encoders_are_left_alone(tmp_path: Path) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForQuestionAnswering(BertConfig(**sizes, intermediate_size=16)).save_pretrained(tmp_path)
    model = load_model(tmp_path, device=CPU)
    assert compile_layer(model) == "bert is not ALBERT"
    assert all(module._compiled_call_impl is None for module in model.model.modules())
