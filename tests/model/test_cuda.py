"""On a real GPU: the kernels, the recordings and the compiler that the other tests replace.

Half precision is compared with fp32 on the CPU by the norm of the difference over the norm: bf16 keeps 8 bits of a
number, and its sums and products through two layers stay well below a hundredth of each other in a tiny encoder whose
weights are of usual size. fp32 is compared as between two orders of addition.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from albertqa.model.replay import TOLERANCE, CudaGraphs, Replayed

from albertqa.model.attention import attend_in_rows, attend_varlen, choose_attention
from albertqa.model.compiled import compile_layer
from albertqa.model.load import SpanModel, load_model
from albertqa.model.packed import span_losses
from albertqa.windows.batches import PackedBatch, with_tail

from .cases import random_batch, save_albert

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    # Dynamo's own (see `test_compiled`), Inductor's advice, and what the search for waiting says of itself.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VOCAB_SIZE = 1000
HALF_TOLERANCE = 0.03
LENGTHS = [(1,), (64,), (7, 7), (384, 17, 5, 128), (3, 200, 1, 90, 31, 2)]
ALIKE = [(100, 20, 30), (7, 9, 64), (64, 64, 64), (1, 30, 2), (99, 100, 3), (200, 3, 90), (250, 10, 70), (128, 20, 1)]


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
    """Give logits of the real tokens, losses, and the gradients of their mean."""
    batch = batch.to(model.device)
    model.model.zero_grad()
    start, end = model.logits(batch)
    losses = span_losses(start, end, batch)
    losses.mean().backward()
    logits = torch.cat([start[: batch.num_tokens], end[: batch.num_tokens]])
    gradients = torch.cat([one.grad.flatten() for one in model.model.parameters()])
    return [one.detach().cpu() for one in (logits, losses, gradients)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("has_tail", [False, True], ids=["", "tail"])
def test_flash_attention_equals_fp32_on_the_cpu(
    folder: Path, half: torch.dtype, lengths: tuple[int, ...], has_tail: bool
) -> None:
    model = load_model(folder, device=CUDA, precision=half)
    assert choose_attention(model.model, CUDA, half) is attend_varlen
    batch = random_batch(lengths, VOCAB_SIZE)
    expected = run(load_model(folder, device=CPU), batch)
    assert_close(run(model, with_tail(batch, 256) if has_tail else batch), expected, HALF_TOLERANCE)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_rows_in_fp32_equal_the_cpu(folder: Path, lengths: tuple[int, ...]) -> None:
    model = load_model(folder, device=CUDA)
    assert choose_attention(model.model, CUDA, None) is attend_in_rows
    batch = random_batch(lengths, VOCAB_SIZE)
    expected = run(load_model(folder, device=CPU), batch)
    assert_close(run(model, batch), expected, 1e-4)
    assert_close(run(model, with_tail(batch, 256)), expected, 1e-4)


def test_what_a_tail_holds_reaches_no_gradient(folder: Path, half: torch.dtype) -> None:
    model = load_model(folder, device=CUDA, precision=half)
    batch = with_tail(random_batch((30, 9, 51), VOCAB_SIZE), 64)
    unused = next(one for one in range(5, VOCAB_SIZE) if one not in batch.input_ids)
    batch.input_ids[batch.num_tokens :] = unused
    run(model, batch)
    gradient = model.model.get_input_embeddings().weight.grad
    assert gradient[unused].eq(0).all()
    assert gradient.ne(0).any()


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


def replays(model: SpanModel, said: list[str]) -> tuple[Callable[[PackedBatch, int], torch.Tensor], Replayed]:
    def work(batch: PackedBatch, num_windows: int) -> torch.Tensor:
        losses = span_losses(*model.logits(batch), batch)
        (losses.sum() / num_windows).backward()
        return losses.detach()

    parameters = list(model.model.parameters())
    return work, Replayed(work, parameters, CUDA, record=CudaGraphs(), say=said.append)


@pytest.mark.parametrize("precision", [torch.bfloat16, None], ids=["bf16", "fp32"])
def test_recordings_give_what_plain_runs_give_and_have_the_host_never_wait(
    folder: Path, precision: torch.dtype | None
) -> None:
    model = load_model(folder, device=CUDA, precision=precision)
    model.model.train()
    said: list[str] = []
    work, replayed = replays(model, said)
    batches = [random_batch(lengths, VOCAB_SIZE, seed=at) for at, lengths in enumerate(ALIKE)]

    def gradients() -> torch.Tensor:
        return torch.cat([one.grad.flatten() for one in model.model.parameters()])

    for turn in range(3):
        for batch in batches:
            model.model.zero_grad(set_to_none=True)
            if turn < 2:
                losses = replayed(batch, 3)
            else:
                with never_waiting():
                    losses = replayed(batch, 3)
            found = gradients().clone()
            model.model.zero_grad(set_to_none=True)
            expected = work(batch.to(CUDA), 3)
            assert_close([losses, found], [expected, gradients()], TOLERANCE if precision else 1e-4)
    assert said == []
    assert replayed.has_recordings


def test_recordings_add_up_and_see_weights_that_the_optimizer_moved(folder: Path) -> None:
    model = load_model(folder, device=CUDA)
    model.model.train()
    plain = replace(model, model=copy.deepcopy(model.model))
    said: list[str] = []
    _, replayed = replays(model, said)
    work, _ = replays(plain, said)
    optimizers = [torch.optim.AdamW(one.model.parameters(), lr=1e-3, fused=True) for one in (model, plain)]
    batches = [random_batch(lengths, VOCAB_SIZE, seed=at) for at, lengths in enumerate(ALIKE)]
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            assert_close([replayed(batch, 24)], [work(batch.to(CUDA), 24)], 1e-3)
        for optimizer in optimizers:
            optimizer.step()
    assert said == []
    assert replayed.has_recordings


def test_after_recordings_are_forgotten_new_ones_are_made(folder: Path) -> None:
    model = load_model(folder, device=CUDA)
    model.model.train()
    said: list[str] = []
    work, replayed = replays(model, said)
    batch = random_batch((100, 20, 30), VOCAB_SIZE)
    expected = work(batch.to(CUDA), 3)
    for _ in range(2):
        for _ in range(3):
            assert_close([replayed(batch, 3)], [expected], 1e-4)
        assert replayed.has_recordings
        replayed.forget()
    assert said == []


def test_dropout_differs_from_replay_to_replay(folder: Path) -> None:
    model = load_model(folder, device=CUDA, hidden_dropout=0.3)
    model.model.train()
    said: list[str] = []
    _, replayed = replays(model, said)
    batch = random_batch((100, 20, 30), VOCAB_SIZE)
    losses = [replayed(batch, 3).cpu() for _ in range(5)]
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(losses))
    assert said == []


def test_the_compiled_layer_computes_the_same_also_when_recorded(folder: Path) -> None:
    batches = [random_batch(lengths, VOCAB_SIZE, seed=at) for at, lengths in enumerate(ALIKE)]
    for precision, tolerance in ((torch.bfloat16, HALF_TOLERANCE), (None, 1e-4)):
        model = load_model(folder, device=CUDA, precision=precision)
        model.model.train()
        expected = [run(model, batch) for batch in batches]
        assert compile_layer(model) is None
        for batch, reference in zip(batches, expected, strict=True):
            assert_close(run(model, batch), reference, tolerance)
        said: list[str] = []
        _, replayed = replays(model, said)
        for _ in range(2):
            for batch, reference in zip(batches, expected, strict=True):
                assert_close([replayed(batch, 3).cpu()], [reference[1]], tolerance)
        assert said == []
        torch._dynamo.reset()
