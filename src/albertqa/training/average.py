"""Exponential moving average of the weights: the weights are trained, their average is evaluated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


class WeightAverage:
    """The moving average of a model's trained weights; one copy of them, on their device.

    It begins at the weights that the run begins with. After applied step t, counted from 1::

        average = d · average + (1 - d) · weights        d = min(decay, (1 + t) / (10 + t))

    The warm-up of d lets the average forget where it began. Without it, after 30 steps with a decay of 0.999, the
    untrained head would still make up 97 percent of the average that is evaluated.

    Args:
        model: The model whose weights are averaged.
        decay: Share of the average that a step keeps, above 0 and below 1.

    Source:
        Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; average and warm-up as
        TensorFlow's `tf.train.ExponentialMovingAverage(decay, num_updates=step)` has them.
        PyTorch's `torch.optim.swa_utils.AveragedModel` keeps a second model instead and has no warm-up.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self._average = {name: one.detach().clone() for name, one in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int, is_applied: torch.Tensor) -> None:
        """Move the average towards the weights, without asking the device.

        Args:
            step: Optimizer steps done, this one included.
            is_applied: Whether it moved the weights, () bool; if not, the average stays as it is.
        """
        share = (1 - min(self._decay, (1 + step) / (10 + step))) * is_applied
        for name, average in self._average.items():
            average.lerp_(self._weights[name], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights, in place; afterwards it has its own again, to the bit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give the average by the names of the weights, for a checkpoint."""
        return dict(self._average)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the average from a checkpoint.

        Args:
            tensors: What `tensors` gave, on any device.

        Raises:
            KeyError: A weight is missing.
        """
        for name, average in self._average.items():
            average.copy_(tensors[name])

    @torch.no_grad()
    def _swap(self) -> None:
        # One tensor after the other, so that no second copy of the model is ever there.
        for name, average in self._average.items():
            weight = self._weights[name]
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


def judged_weights(average: WeightAverage | None) -> AbstractContextManager[None]:
    """Give the context in which the model has the weights that are evaluated and kept.

    Args:
        average: Their moving average; None: the weights themselves.
    """
    return nullcontext() if average is None else average.applied()
