"""Fit the micro-batch to the memory before a run begins: the same settings then run on a small machine, too.

Forward and backward of the longest window are done once and thrown away, and the memory is counted that they take at
most. So many windows cannot take more than so many times that; where there is room for it, nothing else is measured.
Else a second pass leaves out the gradients of weight matrices, which do not grow with the number of windows, and so
tells what each further window adds at most; as many are taken at a time as there is room for, and on a GPU they are
tried. A step's windows stay the same: they go through in more passes, and their gradients are added up. Where not even
one window fits, activations are recomputed.

Weights, moments, random state and data order are afterwards what they were before. The cost is that of one window, or
of two; on a GPU short of memory a micro-batch more, or a few; where activations must be recomputed, as much again.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from albertqa.files import plural
from albertqa.model.dropout import seeds_of_pass
from albertqa.model.load import SpanModel
from albertqa.model.memory import SHARE_OF_FREE, available_bytes, is_out_of_memory
from albertqa.run.objective import Objective
from albertqa.windows.batches import pack
from albertqa.windows.store import Window, WindowStore

_SURE_SHARE = 0.5
"""On a GPU, a bound below so much of that room is believed without trying."""

_GIB = 2**30


@dataclass(frozen=True)
class Fit:
    """What was measured, and decided.

    Attributes:
        wanted: Windows of one forward and backward, as the settings have it.
        micro_batch: How many are taken.
        recompute: Whether activations are recomputed.
        is_enough: Whether that fits; if not, it is the least there is.
        tokens: Tokens of the longest window.
        needed_bytes: What training takes at most with `micro_batch` windows of that length, beyond the model and CUDA
            graphs, which are given up where they do not fit.
        wanted_bytes: The same with `wanted` windows.
        available_bytes: What there was.
    """

    wanted: int
    micro_batch: int
    recompute: bool
    is_enough: bool
    tokens: int
    needed_bytes: int
    wanted_bytes: int
    available_bytes: int

    def summary(self) -> str:
        """Say in one line what was decided and why."""
        windows = f"{plural(self.micro_batch, 'window')} of {self.tokens} tokens"
        of_all = f"of {self.available_bytes / _GIB:.1f} GiB"
        how = " with activations recomputed" if self.recompute else ""
        if not self.is_enough:
            return (
                f"warning: {windows} at a time{how} need about {self.needed_bytes / _GIB:.1f} {of_all} of memory that "
                "is free; this may fail. Use a shorter --max-seq-length or a smaller --model"
            )
        if self.micro_batch == self.wanted:
            return f"fits: {windows} at a time{how} need at most {self.needed_bytes / _GIB:.1f} {of_all}"
        return (
            f"fits: {windows} at a time{how}, as {self.wanted} need {self.wanted_bytes / _GIB:.1f} {of_all}; "
            "a step has the same windows in more passes"
        )


@dataclass(frozen=True)
class _Need:
    """Bytes that one window takes in forward and backward, and at most every further one."""

    one: int
    each: int

    def of(self, windows: int) -> int:
        return self.one + (windows - 1) * self.each


def fit_to_memory(
    model: SpanModel,
    store: WindowStore,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    *,
    micro_batch: int,
    recompute: bool,
    may_recompute: bool,
) -> Fit | None:
    """Find how many windows one forward and backward may have.

    Args:
        model: The model; its activations are recomputed afterwards if that is decided.
        store: Training windows.
        optimizer: Its optimizer.
        objective: What the steps minimize.
        micro_batch: Windows that are wanted.
        recompute: Whether activations are recomputed already.
        may_recompute: Whether they may be where nothing else fits.

    Returns:
        What was found, or None on a device whose memory cannot be told (neither CPU nor CUDA).
    """
    if model.device.type not in {"cpu", "cuda"}:
        return None
    available = available_bytes(model.device)
    pending = _pending_bytes(model.model, optimizer)
    room = int(SHARE_OF_FREE * available) - pending
    longest = longest_window(store)
    with _left_as_it_was(model, optimizer):

        def measure(windows: int, *, matrices: bool = True) -> int:
            try:
                return peak_bytes(model, longest, objective, windows, matrices=matrices)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # More than there is; how much more, nobody knows.
            return available + 1

        need, most = _most_windows(measure, micro_batch, room)
        if most == 0 and may_recompute and not recompute:
            recompute = True
            model.recompute_activations()
            need, most = _most_windows(measure, micro_batch, room)
        if model.device.type == "cuda" and need.of(most) > _SURE_SHARE * room:
            while most > 1 and measure(most) > room:
                most //= 2
    # As few passes as can be, and all of them alike.
    passes = math.ceil(micro_batch / max(1, most))
    even = math.ceil(micro_batch / passes)
    return Fit(
        wanted=micro_batch,
        micro_batch=even,
        recompute=recompute,
        is_enough=most > 0,
        tokens=len(longest.input_ids),
        needed_bytes=pending + need.of(even),
        wanted_bytes=pending + need.of(micro_batch),
        available_bytes=available,
    )


def _most_windows(measure: Callable[..., int], wanted: int, room: int) -> tuple[_Need, int]:
    """Return what windows need, and how many of those wanted there is room for: 0 if for none."""
    one = measure(1)
    if wanted * one <= room or one > room:
        return _Need(one, one), wanted if wanted * one <= room else 0
    need = _Need(one, max(1, measure(1, matrices=False)))
    return need, min(wanted, 1 + (room - one) // need.each)


def _pending_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Count what the first step will allocate for good: gradients, and the two moments where they are not there yet."""
    trained = [one for one in model.parameters() if one.requires_grad]
    return sum(one.nbytes * (1 if one in optimizer.state else 3) for one in trained)


@contextmanager
def _left_as_it_was(model: SpanModel, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Set a model up for training, with gradients to add to, and leave no trace of what is done with it."""
    is_cuda = model.device.type == "cuda"
    was_training = model.model.training
    with torch.random.fork_rng([model.device] if is_cuda else []):
        try:
            model.model.train()
            for parameter in model.model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)
            yield
        finally:
            optimizer.zero_grad(set_to_none=True)
            model.model.train(was_training)
            if is_cuda:
                torch.cuda.empty_cache()


def longest_window(store: WindowStore) -> Window:
    """Return the longest window."""
    return store[int(store.lengths.argmax())]


def peak_bytes(
    model: SpanModel, window: Window, objective: Objective, windows: int = 1, *, matrices: bool = True
) -> int:
    """Run forward and backward of a window, so many times over, and return the most memory that took.

    Args:
        model: The model, in training, with gradients to add to; they are not counted.
        window: The window.
        objective: What the steps minimize.
        windows: How many times.
        matrices: Whether weight matrices get gradients. Without, what is taken is in proportion to the windows: with
            M(t) the rest, alike for any number of windows n, and B(t) what a window has at moment t, the most of
            M + n·B is never above the most of M + B plus n - 1 times the most of B.
    """
    seeds = seeds_of_pass(model.device, 0, 0, range(windows))
    batch = pack([window] * windows, range(windows), dropout_seeds=seeds).to(model.device)
    weights = list(model.model.parameters())
    vectors = [one for one in weights if one.ndim == 1 and one.requires_grad]

    def run() -> None:
        loss = objective(model, batch).sum()
        if matrices:
            loss.backward()
        else:
            torch.autograd.grad(loss, vectors)

    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        run()
        return int(torch.cuda.max_memory_allocated(model.device) - before)
    gradients = [one.grad for one in weights if one.grad is not None]
    with LiveBytes([*weights, *gradients, *model.model.buffers()]) as live:
        run()
    peak: int = live.peak
    return peak


class LiveBytes(TorchDispatchMode):
    """Counts the memory of the tensors that operations make while this context is open, backward pass included.

    PyTorch has no such count for the CPU, and the process's own size tells nothing: freed memory is kept.

    Args:
        known: Tensors that were there before, and are not counted.

    Attributes:
        now: Bytes that are alive.
        peak: The most at one time.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {one.untyped_storage().data_ptr() for one in known}
        self._alive: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor) and one.is_mkldnn:
                # Weights that oneDNN packed have no storage to see; their number is theirs alone.
                self._count(one, id(one), torch.ops.mkldnn._nbytes(one))
            elif isinstance(one, torch.Tensor):
                storage = one.untyped_storage()
                self._count(storage, storage.data_ptr(), storage.nbytes())
        return made

    def _count(self, owner: torch.Tensor | torch.UntypedStorage, address: int, size: int) -> None:
        if size == 0 or address in self._known or address in self._alive:
            return
        self._alive.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(owner, self._forget, address, size).atexit = False

    def _forget(self, address: int, size: int) -> None:
        self._alive.discard(address)
        self.now -= size
