"""What a pass over windows needs of a model, whichever library computes it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from albertqa.errors import SettingsError
from albertqa.windows.batches import WindowSource


class WindowScores(NamedTuple):
    """What a model says of some windows.

    Attributes:
        start: Start logits of all their tokens, end to end.
        end: End logits.
        losses: Loss of each window against its labels.

    Shapes:
        start, end: (T,) float32
        losses: (W,) float64
    """

    start: NDArray[np.float32]
    end: NDArray[np.float32]
    losses: NDArray[np.float64]


class WindowModel(ABC):
    """A model that scores windows: `SpanModel` with PyTorch, `OnnxModel` with ONNX Runtime.

    Attributes:
        max_positions: Longest window the encoder has positions for, in tokens.
        vocab_size: Rows of its word embeddings.
        depends_on_batch: Whether a window's logits differ by more than rounding with the windows beside it.
    """

    max_positions: int
    vocab_size: int
    depends_on_batch: bool = False

    @abstractmethod
    def score_windows(self, source: WindowSource, indices: NDArray[np.int64]) -> WindowScores | None:
        """Return logits and losses of some windows, in this order; None where the memory does not hold them."""

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Compute without dropout and gradients inside the block."""
        yield

    def require_positions(self, max_seq_length: int, source: str) -> None:
        """Refuse windows that the encoder, which the user called `source`, has no positions for.

        Raises:
            SettingsError: There are too few.
        """
        if max_seq_length > self.max_positions:
            raise SettingsError(
                f"max_seq_length is {max_seq_length}, but {source} has positions for only {self.max_positions} tokens. "
                f"Use --max-seq-length {self.max_positions}"
            )
