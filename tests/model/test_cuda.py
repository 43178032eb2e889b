"""On a real GPU: the kernels and the compiler that the other tests replace.

Half precision is compared with fp32 on the CPU by the norm of the difference over the norm: bf16 keeps 8 bits of a
number, and its sums and products through two layers stay well below a hundredth of each other in a tiny encoder whose
weights are of usual size. fp32 is compared as between two orders of addition.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from albertqa.model import encoder
from albertqa.model.attention import attend_in_rows, attend_varlen, attention_inputs, choose_attention
from albertqa.model.compiled import compile_layer
from albertqa.model.cuda_graphs import Pass, RecordedPasses
from albertqa.model.dropout import seeds_of_pass
from albertqa.model.load import SpanModel, load_model
from albertqa.model.span_loss import span_losses
from albertqa.run.objective import Objective, build_objective
from albertqa.windows.batches import PackedBatch

from .cases import random_batch, save_albert

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    # Dynamo's own (see `test_compiled`), Inductor's advice, and what the search for waiting says of itself.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VOCAB_SIZE = 1000
HALF_TOLERANCE = 0.03
LENGTHS = [(1,), (64,), (7, 7), (384, 17, 5, 128), (3, 200, 1, 90, 31, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny ALBERT with weights as wide as trained ones, so that rounding is not blown up."""
    return save_albert(tiny_folder, tmp_path_factory.mktemp("tiny-cuda"), initializer_range=0.05)


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def half(request: pytest.FixtureRequest) -> torch.dtype:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("FlashAttention needs an Ampere GPU")
    return request.param


@contextmanager
def never_waiting() -> Iterator[None]:
    """Let everything fail that has the host wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def run(model: SpanModel, batch: PackedBatch) -> list[torch.Tensor]:
    """Return logits, losses, and the gradients of their mean."""
    batch = batch.to(model.device)
    model.model.zero_grad()
    start, end = model.logits(batch)
    losses = span_losses(start, end, batch)
    losses.mean().backward()
    gradients = torch.cat([one.grad.flatten() for one in model.model.parameters()])
    return [one.detach().cpu() for one in (torch.cat([start, end]), losses, gradients)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_flash_attention_equals_fp32_on_the_cpu(folder: Path, half: torch.dtype, lengths: tuple[int, ...]) -> None:
    assert choose_attention(CUDA, half, head_size=16) is attend_varlen
    batch = random_batch(lengths, VOCAB_SIZE)
    expected = run(load_model(folder, device=CPU), batch)
    assert_close(run(load_model(folder, device=CUDA, precision=half), batch), expected, HALF_TOLERANCE)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_rows_in_half_precision_equal_fp32_on_the_cpu(
    folder: Path, half: torch.dtype, lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = random_batch(lengths, VOCAB_SIZE)
    expected = run(load_model(folder, device=CPU), batch)
    monkeypatch.setattr(encoder, "choose_attention", lambda *_, **__: attend_in_rows)
    assert_close(run(load_model(folder, device=CUDA, precision=half), batch), expected, HALF_TOLERANCE)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_rows_in_fp32_equal_the_cpu(folder: Path, lengths: tuple[int, ...]) -> None:
    assert choose_attention(CUDA, None, head_size=16) is attend_in_rows
    batch = random_batch(lengths, VOCAB_SIZE)
    expected = run(load_model(folder, device=CPU), batch)
    assert_close(run(load_model(folder, device=CUDA), batch), expected, 1e-4)


def test_a_batch_forward_and_backward_have_the_host_never_wait(folder: Path, half: torch.dtype) -> None:
    for precision in (half, None):
        model = load_model(folder, device=CUDA, precision=precision)
        model.model.train()
        first, second = (random_batch(lengths, VOCAB_SIZE) for lengths in LENGTHS[-2:])
        for batch in (first, second):
            run(model, batch)
        with never_waiting():
            batch = second.to(CUDA)
            span_losses(*model.logits(batch), batch).mean().backward()


def counted_pass(model: SpanModel, objective: Objective, passes: Counter[str]) -> Pass:
    """Return a pass as a training step does it, counting where the host takes part."""

    def run_pass(batch: PackedBatch, counted: int, num_windows: int) -> torch.Tensor:
        passes["by the host"] += 1
        each = objective(model, batch)[:counted]
        (each.sum() / num_windows).backward()
        return each.detach()

    return run_pass


@pytest.mark.parametrize("objective", [{}, {"label_smoothing": 0.1, "r_drop_alpha": 1.0}], ids=["span", "regularized"])
@pytest.mark.parametrize("has_dropout", [False, True], ids=["plain", "dropout"])
def test_replayed_passes_equal_passes_kernel_by_kernel(
    folder: Path, has_dropout: bool, objective: dict[str, float]
) -> None:
    rates = dict.fromkeys(("hidden_dropout", "attention_dropout", "head_dropout"), 0.2 if has_dropout else 0.0)
    model = load_model(folder, device=CUDA, precision=torch.bfloat16, **rates)
    model.model.train()
    passes: Counter[str] = Counter()
    recorded = RecordedPasses(
        counted_pass(model, build_objective(**objective), passes), list(model.model.parameters()), CUDA
    )

    def do(seed: int, *, draws: int) -> list[torch.Tensor]:
        batches = [random_batch(lengths, VOCAB_SIZE, seed=seed) for lengths in LENGTHS[-2:]]
        recorded.begin_step()
        seeds_of_pass(CUDA, draws, 0, [0])
        losses = torch.cat([recorded(batch, 10) for batch in batches])
        return [losses.cpu(), torch.cat([one.grad.flatten().cpu() for one in model.model.parameters()])]

    kernel_by_kernel = do(0, draws=0)
    replayed = [do(1, draws=1), do(0, draws=0), do(1, draws=1)]
    # Two shapes: once kernel by kernel, once to be recorded.
    assert passes["by the host"] == 4
    assert_close(replayed[1], kernel_by_kernel, HALF_TOLERANCE)
    assert_close(replayed[2], replayed[0], HALF_TOLERANCE)
    assert not torch.allclose(replayed[0][0], replayed[1][0])
    redrawn = do(1, draws=2)
    assert torch.allclose(redrawn[0], replayed[0][0], rtol=1e-3) != has_dropout


def test_flash_attention_drops_the_same_forward_and_backward(half: torch.dtype) -> None:
    batch = random_batch((64, 200), VOCAB_SIZE)
    qkv = torch.randn(264, 3, 4, 64, device=CUDA, dtype=half, requires_grad=True)
    inputs = attention_inputs(attend_varlen, batch.to(CUDA))
    plain = attend_varlen(qkv, dropout=0.0, **inputs).detach().float()
    draws = []
    for seed in range(200):
        torch.manual_seed(seed)
        dropped = attend_varlen(qkv, dropout=0.3, **inputs)
        direction = torch.randn_like(dropped)
        (gradient,) = torch.autograd.grad(dropped, qkv, direction)
        # Linear in the values for what is dropped: the gradient times the values is the result times the direction.
        of_values, expected = (gradient[:, 2] * qkv[:, 2]).detach().float(), (dropped * direction).detach().float()
        assert abs(of_values.sum() - expected.sum()) <= HALF_TOLERANCE * expected.norm()
        draws.append(dropped.detach().float())
    assert not torch.equal(draws[0], draws[1])
    drawn = torch.stack(draws)
    assert float((drawn.mean(dim=0) - plain).abs().max()) < 6 * float(drawn.std(dim=0).max()) / len(draws) ** 0.5


def test_compiled_layers_compute_the_same(folder: Path) -> None:
    batches = [random_batch(lengths, VOCAB_SIZE, seed=at) for at, lengths in enumerate(LENGTHS)]
    for precision, tolerance in ((torch.bfloat16, HALF_TOLERANCE), (None, 1e-4)):
        model = load_model(folder, device=CUDA, precision=precision)
        model.model.train()
        expected = [run(model, batch) for batch in batches]
        assert compile_layer(model) is None
        for batch, reference in zip(batches, expected, strict=True):
            assert_close(run(model, batch), reference, tolerance)
        torch._dynamo.reset()


def test_recomputed_activations_give_the_same(folder: Path, half: torch.dtype) -> None:
    model = load_model(folder, device=CUDA, precision=half, hidden_dropout=0.1)
    model.model.train()
    batch = random_batch(LENGTHS[-1], VOCAB_SIZE)
    torch.manual_seed(0)
    expected = run(model, batch)
    model.recompute_activations()
    torch.manual_seed(0)
    # FlashAttention's backward adds in no fixed order.
    assert_close(run(model, batch), expected, HALF_TOLERANCE)
