"""Run a model over the windows of a store: logits for decoding and the loss, in one pass."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from albertqa.decode.spans import WindowLogits
from albertqa.errors import SettingsError
from albertqa.model.window_model import WindowModel
from albertqa.windows.batches import by_length
from albertqa.windows.store import WindowStore

if TYPE_CHECKING:
    from albertqa.model.world import World


@dataclass(frozen=True)
class Pass:
    """The result of one pass over the windows.

    Attributes:
        logits: Logits of every window, in the store's order.
        losses: Loss of every window against its labels, (W,) float64.
        seconds: Time of the pass.
    """

    logits: WindowLogits
    losses: NDArray[np.float64]
    seconds: float

    @property
    def loss(self) -> float:
        """Mean loss over the windows."""
        return float(self.losses.mean())

    @property
    def loss_error(self) -> float:
        """Standard error of the mean loss."""
        return float(self.losses.std() / len(self.losses) ** 0.5)


def run_windows(
    model: WindowModel,
    store: WindowStore,
    *,
    batch_size: int = 32,
    one_by_one: bool = False,
    progress: Callable[[int], None] | None = None,
    world: "World | None" = None,
) -> Pass:
    """Return logits and loss of every window.

    Windows run sorted by length under a token budget; the results come back in the store's order.

    In bf16 and fp16 some processors sum a row of a matrix product in another order when there are more or fewer rows
    beside it, so a window's logits depend on the windows that it shares a forward pass with, in the last digits of
    these types. With `one_by_one` they do not, to the bit. A model whose logits differ by more than that
    (`WindowModel.depends_on_batch`) always runs one by one.

    Args:
        model: The model; left in the mode it is in.
        store: The windows, at least one.
        batch_size: Maximum-length windows of one forward pass; of shorter ones it takes more. Where the memory holds
            fewer, fewer are taken.
        one_by_one: Whether every window gets a forward pass of its own, whatever the batch size.
        progress: Called after each forward with the number of windows done in it.
        world: The processes that divide the windows among them; each gets all logits. None: this one is alone.

    Raises:
        SettingsError: The memory does not hold one window.
    """
    begun = time.perf_counter()
    lengths = store.lengths
    first_token = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    start, end = (np.zeros(first_token[-1], dtype=np.float32) for _ in range(2))
    losses = np.zeros(len(lengths), dtype=np.float64)
    mine = np.arange(len(lengths)) if world is None else world.shares(lengths)[world.rank]
    one_by_one = one_by_one or model.depends_on_batch
    with model.evaluating():
        groups = by_length(lengths[mine], max_tokens=1 if one_by_one else batch_size * store.max_seq_length)
        left = deque(mine[group] for group in groups)
        while left:
            indices = left.popleft()
            scores = model.score_windows(store, indices)
            if scores is None:  # the memory does not hold them
                if len(indices) == 1:
                    raise SettingsError(
                        f"out of memory with one window of {lengths[indices[0]]} tokens. Use a shorter "
                        "--max-seq-length, a smaller model, or --device cpu"
                    )
                # The longest come first, so this happens at once: this batch and all behind it are cut anew.
                rest, half = np.concatenate([indices, *left]), int(lengths[indices].sum()) // 2
                left = deque(rest[group] for group in by_length(lengths[rest], max_tokens=half))
                continue
            spans = np.concatenate([np.arange(first_token[i], first_token[i + 1]) for i in indices])
            start[spans], end[spans], losses[indices] = scores
            if progress is not None:
                progress(len(indices))
    if world is not None:
        for values in (start, end, losses):
            # What the other processes read is 0 here.
            world.sum_array(values)
    return Pass(WindowLogits(start, end, first_token), losses, time.perf_counter() - begun)
