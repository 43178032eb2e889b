"""Forward and backward passes recorded once for every shape, then replayed: CUDA graphs.

A pass of albert-base over 16 windows is some 900 small kernels, and a fast GPU computes them in a quarter of the time
that the host takes to start them one by one; a graph starts them all at once. It needs:

- **Few shapes.** A spare window, whose loss does not count, brings the tokens to a multiple of 256; the longest window
  counts as a multiple of 128. A shape runs kernel by kernel when it first comes, and is recorded when it
  comes again.
- **Fixed places.** A graph reads its batch where it was, and adds to gradients where they were.
- **Nothing from the host.** A number that the host had while recording stays what it was.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from albertqa.files import first_line
from albertqa.windows.batches import PackedBatch, with_spare_window

_TOKENS_MULTIPLE = 256
_LONGEST_MULTIPLE = 128
# Lengths of a recorded batch: a graph would keep them, so there are none to read.
_UNKNOWN: tuple[int, ...] = ()

# Does a forward and backward pass: takes a batch on the device, how many of its windows count, and the windows of the
# whole step; adds to the gradients; returns the losses of the windows that count, detached.
Pass: TypeAlias = Callable[[PackedBatch, int, int], torch.Tensor]


class RecordingError(RuntimeError):
    """A pass could not be recorded."""


@dataclass(frozen=True)
class _Recording:
    """A recorded pass: the batch it reads, how it is replayed, and the losses it writes."""

    batch: PackedBatch
    replay: Callable[[], None]
    losses: torch.Tensor


class RecordedPasses:
    """Does the passes of a run, by replaying recordings where it can.

    Args:
        run: Does a pass.
        parameters: The parameters that get gradients; they stay where they are.
        device: A CUDA device.
    """

    def __init__(self, run: Pass, parameters: Sequence[torch.nn.Parameter], device: torch.device) -> None:
        self._run, self._parameters, self._device = run, parameters, device
        self._gradients = [torch.zeros_like(one) for one in parameters]
        self._seen: set[tuple[int, ...]] = set()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        # One graph is replayed after the other, so all may use the same memory.
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def begin_step(self) -> None:
        """Set the gradients to zero, where recordings add to them."""
        torch._foreach_zero_(self._gradients)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def __call__(self, batch: PackedBatch, num_windows: int) -> torch.Tensor:
        """Do a pass.

        Args:
            batch: Its windows, on the CPU.
            num_windows: Windows of the whole step.

        Returns:
            The loss of every window, detached.

        Raises:
            RecordingError: It cannot be recorded; the gradients are of no use.

        Shapes:
            returns: (W,) float32
        """
        counted = len(batch.lengths)
        batch = with_spare_window(batch, _TOKENS_MULTIPLE)
        # At least the longest spare window, so that it makes no shapes of its own.
        longest = max(_TOKENS_MULTIPLE, batch.longest + -batch.longest % _LONGEST_MULTIPLE)
        batch = replace(batch, longest=longest)
        shape = (len(batch.input_ids), counted, longest, num_windows)
        if shape not in self._seen:
            self._seen.add(shape)
            return self._run(batch.to(self._device), counted, num_windows)
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recordings[shape] = self._record(batch, counted, num_windows)
        recording.batch.copy_(batch)
        recording.replay()
        return recording.losses.clone()

    def _record(self, batch: PackedBatch, counted: int, num_windows: int) -> _Recording:
        batch = replace(batch.to(self._device), lengths=_UNKNOWN)
        try:
            replay, losses = self._graph(lambda: self._run(batch, counted, num_windows))
        except RuntimeError as error:
            raise RecordingError(first_line(_first_cause(error))) from error
        return _Recording(batch, replay, losses)

    def _graph(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """Record the kernels that some work starts; none of them runs."""
        graph = torch.cuda.CUDAGraph()
        # Nodes of autograd that an earlier pass left in a reference cycle add gradients on that pass's stream.
        gc.collect()
        # The outer context gives the stream back, which `torch.cuda.graph` keeps where recording fails.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, pool=self._pool):
            result = work()
        return graph.replay, result


def _first_cause(error: BaseException) -> BaseException:
    """Return what went wrong first: a recording that ends early has an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error
