"""Batches without padding: the windows of a step laid end to end.

`PackedBatch` is the one form in which windows reach a model, in training, evaluation and answering alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from albertqa.windows.store import Window

if TYPE_CHECKING:
    import torch


class WindowSource(Protocol):
    """Windows by position: a `WindowStore`, or a view of one."""

    def __getitem__(self, index: int) -> Window:
        """Return one window."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """Windows laid end to end, with what keeps them apart.

    Attributes:
        input_ids: Token ids of all windows.
        token_type_ids: Segment ids.
        position_ids: Positions, from 0 in each window.
        first_token: Index of each window's first token; T at the end.
        lengths: Tokens of each window, in order; the same as `first_token` has, known without asking the device.
        longest: Tokens of the longest window.
        start_positions: Labels: index of the first answer token within its window (0 is CLS).
        end_positions: Labels: index of the last answer token, inclusive.
        dropout_seeds: What each window's dropout is drawn from, on the CPU only (`albertqa.model.dropout`); None:
            PyTorch's generators.

    Shapes:
        input_ids, token_type_ids, position_ids: (T,) int64, T the sum of lengths
        first_token: (W + 1,) int64
        start_positions, end_positions: (W,) int64
    """

    input_ids: "torch.Tensor"
    token_type_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    first_token: "torch.Tensor"
    lengths: tuple[int, ...]
    longest: int
    start_positions: "torch.Tensor"
    end_positions: "torch.Tensor"
    dropout_seeds: tuple[int, ...] | None = None

    @property
    def num_tokens(self) -> int:
        """Real tokens in the batch."""
        return sum(self.lengths)

    def to(self, device: "torch.device") -> "PackedBatch":
        """Return the same batch on a device."""
        tensors: dict[str, Any] = {name: _sent(getattr(self, name), device) for name in _TENSORS}
        return replace(self, **tensors)

    def copy_(self, other: "PackedBatch") -> None:
        """Take over the tokens and labels of a batch on the CPU that has as many of both."""
        for name in _TENSORS:
            tensor = getattr(self, name)
            tensor.copy_(_sent(getattr(other, name), tensor.device))

    def drawn_again(self) -> "PackedBatch":
        """Return the same batch with dropout of its own."""
        seeds = self.dropout_seeds
        return self if seeds is None else replace(self, dropout_seeds=tuple(seed ^ 1 for seed in seeds))


def _sent(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return a tensor on a device; to a GPU out of pinned memory, so that the host does not wait for the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


_TENSORS = ("input_ids", "token_type_ids", "position_ids", "first_token", "start_positions", "end_positions")


def pack(
    source: WindowSource,
    indices: Sequence[int] | NDArray[np.int64],
    dropout_seeds: tuple[int, ...] | None = None,
) -> PackedBatch:
    """Lay windows end to end.

    Args:
        source: The windows.
        indices: Which ones, in this order; at least one.
        dropout_seeds: What the dropout of each is drawn from, in training on the CPU.

    Returns:
        The batch, on the CPU.
    """
    import torch

    windows = [source[int(index)] for index in indices]
    lengths = tuple(len(window.input_ids) for window in windows)
    return PackedBatch(
        input_ids=torch.from_numpy(np.concatenate([window.input_ids for window in windows])),
        token_type_ids=torch.from_numpy(np.concatenate([window.token_type_ids for window in windows])),
        position_ids=torch.from_numpy(np.concatenate([np.arange(length) for length in lengths])),
        first_token=torch.from_numpy(np.cumsum((0, *lengths), dtype=np.int64)),
        lengths=lengths,
        longest=max(lengths),
        start_positions=torch.tensor([window.start_position for window in windows]),
        end_positions=torch.tensor([window.end_position for window in windows]),
        dropout_seeds=dropout_seeds,
    )


def with_spare_window(batch: PackedBatch, multiple: int) -> PackedBatch:
    """Add a last window of one or more tokens, whose ids, positions and labels are 0; its loss means nothing.

    Args:
        batch: The batch, without seeds of its dropout.
        multiple: The number of tokens becomes a multiple of this.
    """
    import torch

    spare = multiple - len(batch.input_ids) % multiple

    def longer(values: "torch.Tensor", by: int) -> "torch.Tensor":
        return torch.cat([values, values.new_zeros(by)])

    return replace(
        batch,
        input_ids=longer(batch.input_ids, spare),
        token_type_ids=longer(batch.token_type_ids, spare),
        position_ids=longer(batch.position_ids, spare),
        first_token=torch.cat([batch.first_token, batch.first_token[-1:] + spare]),
        lengths=(*batch.lengths, spare),
        longest=max(batch.longest, spare),
        start_positions=longer(batch.start_positions, 1),
        end_positions=longer(batch.end_positions, 1),
    )


def by_length(lengths: NDArray[np.int32], *, max_tokens: int) -> list[NDArray[np.int64]]:
    """Group windows of like length under a token budget, longest first.

    Longest first, so that a batch too large for the memory shows at once and not at the end.

    Args:
        lengths: Real tokens of each window, (W,).
        max_tokens: Most real tokens of a batch (a single longer window makes a batch of its own).

    Returns:
        Window indices of each batch; every window is in exactly one.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    batches = []
    while len(order):
        per_batch = max(1, max_tokens // max(1, int(lengths[order[0]])))
        batches.append(order[:per_batch])
        order = order[per_batch:]
    return batches


def epoch_order(num_windows: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Shuffle the windows for one epoch; the order depends on seed and epoch alone, so a resumed run can repeat it.

    Shapes:
        returns: (W,) int64, a permutation
    """
    return np.random.default_rng([seed, epoch]).permutation(num_windows)
