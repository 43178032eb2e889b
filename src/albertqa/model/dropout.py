"""Dropout whose draws belong to a window: the same however a step's windows are divided.

A training step gives each of its windows a seed that follows from the run's seed, the step and the window's place in
it (`window_seeds`). What a window's tokens drop follows from that seed and the place in the encoder alone, so neither
the number of processes, nor the micro-batch, nor a step that is done again changes it. Batches without seeds draw from
PyTorch's generators, as any module does.

That is so on CPUs. On a GPU, where a kernel for every window would have it wait for the host, a pass draws for all its
windows at once: there what is dropped also depends on how a step is divided into passes (`seeds_of_pass`).
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from albertqa.windows.batches import PackedBatch

EMBEDDINGS, ATTENTION, ATTENTION_OUTPUT, FEED_FORWARD, HEAD = range(5)
"""The kinds of places that drop, for `draw_mask` and `place_seeds`."""


def window_seeds(seed: int, step: int, windows: Iterable[int]) -> tuple[int, ...]:
    """Return the seeds of some windows of a run's step, given their places among its windows, over all processes."""
    return tuple(_mixed(seed, step, int(window)) for window in windows)


def seeds_of_pass(
    device: torch.device, seed: int, step: int, windows: Sequence[int] | NDArray[np.int64]
) -> tuple[int, ...] | None:
    """Prepare the dropout of one forward and backward pass on a device.

    Returns:
        The seeds of its windows (see `window_seeds`); None on a GPU, whose generator was seeded for all of them.
    """
    seeds = window_seeds(seed, step, windows)
    if device.type == "cpu":
        return seeds
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seeds[0])
    else:
        torch.manual_seed(seeds[0])
    return None


def place_seeds(batch: PackedBatch, kind: int, depth: int) -> tuple[int, ...] | None:
    """Return the seeds of a batch's windows at a place in the encoder (see `draw_mask`); None where it has none."""
    if batch.dropout_seeds is None:
        return None
    return tuple(_mixed(one, kind, depth) for one in batch.dropout_seeds)


def draw_mask(batch: PackedBatch, x: torch.Tensor, rate: float, kind: int, depth: int = 0) -> torch.Tensor | None:
    """Draw what is dropped of hidden states, on the CPU: 0, and what is kept: 1.

    Args:
        batch: The windows that the tokens belong to.
        x: Hidden states, for their shape and type.
        rate: Share that is dropped.
        kind: What drops there.
        depth: How often the layers were applied before.

    Returns:
        Zeros and ones; None where nothing is dropped, or where the batch has no seeds.

    Shapes:
        x, returns: (T, H)
    """
    seeds = place_seeds(batch, kind, depth) if rate else None
    if seeds is None:
        return None
    mask = torch.empty_like(x, requires_grad=False)
    for part, seed in zip(mask.split(list(batch.lengths)), seeds, strict=True):
        draw_kept(part, rate, seed)
    return mask


def draw_kept(out: torch.Tensor, rate: float, seed: int) -> torch.Tensor:
    """Draw which numbers are kept, on the CPU: write 0 or 1 to a tensor, of any type, and return it.

    `rate` is the share that is dropped, to the nearest 65,536th.
    """
    # Sixteen random bits a number: six times as fast as `bernoulli_`.
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(-(-out.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return keep(draws.view(torch.int16)[: out.numel()].view(out.shape), rate, out)


def keep(bits: torch.Tensor, rate: float, out: torch.Tensor) -> torch.Tensor:
    """Write 1 where random bits are among those that are kept, else 0; of all int16, the rate's share is dropped.

    Shapes:
        bits: any, int16
        out, returns: the same, any type
    """
    return torch.ge(bits, _drops_below(rate) - 2**15, out=out)


def kept_scale(rate: float) -> float:
    """Return what numbers that `draw_kept` keeps are multiplied with, so that the mean stays."""
    return 2**16 / (2**16 - _drops_below(rate))


def _drops_below(rate: float) -> int:
    return min(round(rate * 2**16), 2**16 - 1)


def dropped(x: torch.Tensor, mask: torch.Tensor | None, rate: float, training: bool) -> torch.Tensor:
    """Apply a mask of `draw_mask`; without one, PyTorch's own dropout.

    Shapes:
        x, mask, returns: (T, H)
    """
    # The scale apart from the mask, which may be of a type that rounds it.
    return functional.dropout(x, rate, training) if mask is None else x * mask * kept_scale(rate)


def _mixed(*numbers: int) -> int:
    """Return a number that follows from some others, and looks random: 0 to 2^63 - 1."""
    # A CPU's generator reads the lower half of its seed alone.
    content = struct.pack(f"<{len(numbers)}q", *numbers)
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little") >> 1
