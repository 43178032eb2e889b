"""Forward and backward of a micro-batch, recorded once for every shape and replayed: a CUDA graph.

ALBERT-base on 16 windows is some thousand small kernels; a fast GPU is done with one before the host has launched the
next. A recording launches them all at once. What it needs:

- **Few shapes.** Tokens are brought to a multiple of 256 with a tail, whose gradient is zero
  (`albertqa.windows.batches.with_tail`), and the longest window's to one of 128. A shape runs as it is when it first
  comes, which also warms up what its kernels need, and is recorded when it comes again.
- **Fixed places.** A recording reads its batch from one buffer, the weights where they were, and adds to gradients
  where they were. Both are looked after here, so nobody else needs to know of them.
- **Nothing from the host.** A number that the program had in hand while recording would stay what it was. The batch
  that is recorded knows its windows' lengths on the device only; asking it for those on the host fails.

The first recording of a run is compared with a plain forward and backward; where they differ, or recording fails, the
run goes on without.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias
from weakref import WeakSet

import torch

from albertqa.windows.batches import PackedBatch, with_tail

TOKENS_MULTIPLE = 256
LONGEST_MULTIPLE = 128
# FlashAttention's backward adds in no fixed order, in bf16; a recording that is wrong is wrong by far more.
TOLERANCE = 0.02
_UNKNOWN = (-1,)

# Runs forward and backward: takes a batch on the device and the number of windows whose mean loss is sought, adds to
# the gradients, and gives every window's loss, detached, (W,).
Work: TypeAlias = Callable[[PackedBatch, int], torch.Tensor]
Replay: TypeAlias = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class _Recording:
    """A recording, and the buffer that it reads its batch from."""

    inputs: torch.Tensor
    replay: Replay


class CudaGraphs:
    """Records CUDA work into graphs that share one memory pool.

    They may: what outlives a replay is its losses, which stay allocated, and the gradients, which lie outside the pool.
    """

    def __init__(self) -> None:
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    def __call__(self, work: Replay) -> Replay:
        """Record work.

        Args:
            work: Gives a tensor; is called once, while its kernels are recorded and not run.

        Returns:
            What runs the kernels, and gives the tensor.

        Raises:
            RuntimeError: The work cannot be recorded.
        """
        if not self._graphs:
            # PyTorch takes a pool for a further graph only while one of its graphs is there.
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # An autograd graph left over in a reference cycle would have gradients added up on the stream it was made on.
        gc.collect()
        # The outer context gives back the stream, which `torch.cuda.graph` keeps where recording fails.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, pool=self._pool):
            result = work()
        self._graphs.add(graph)

        def replay() -> torch.Tensor:
            graph.replay()
            return result.clone()

        return replay


def recorder_for(device: torch.device) -> Callable[[Replay], Replay] | None:
    """Give what records work on a device, None where nothing does."""
    return CudaGraphs() if device.type == "cuda" else None


class Replayed:
    """Runs micro-batches, by replaying recordings where it can.

    Args:
        work: What is run.
        parameters: The parameters that get gradients.
        device: Where.
        record: Makes the recordings.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        work: Work,
        parameters: Sequence[torch.nn.Parameter],
        device: torch.device,
        *,
        record: Callable[[Replay], Replay],
        say: Callable[[str], None],
    ) -> None:
        self._work, self._parameters, self._device, self._record, self._say = work, parameters, device, record, say
        self._gradients = [torch.zeros_like(parameter) for parameter in parameters]
        self._places: tuple[int, ...] = ()
        self._seen: set[tuple[int, ...]] = set()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._is_trusted = False
        self._is_given_up = False

    def __call__(self, batch: PackedBatch, num_windows: int) -> torch.Tensor:
        """Run forward and backward of a micro-batch; its gradients are added to those there are.

        Args:
            batch: The micro-batch, on the CPU, without a tail.
            num_windows: Windows whose mean loss is sought, in all micro-batches together.

        Returns:
            The loss of every window, (W,) float32, detached.
        """
        if self._is_given_up:
            return self._work(batch.to(self._device), num_windows)
        batch = with_tail(batch, TOKENS_MULTIPLE)
        longest = -(-batch.longest // LONGEST_MULTIPLE) * LONGEST_MULTIPLE
        # No less than the longest tail, so that the tail makes no shapes of its own.
        batch = replace(batch, longest=max(longest, TOKENS_MULTIPLE))
        self._hold_gradients()
        self._check_places()
        shape = (len(batch.input_ids), len(batch.start_positions), batch.longest, num_windows)
        if shape not in self._seen:
            self._seen.add(shape)
            return self._work(batch.to(self._device), num_windows)
        recording = self._recordings.get(shape) or self._recorded(shape, batch, num_windows)
        if recording is None:
            return self._work(batch.to(self._device), num_windows)
        recording.inputs.copy_(_pinned(batch.flattened(), self._device), non_blocking=True)
        return recording.replay()

    @property
    def has_recordings(self) -> bool:
        """Whether there is a recording, and so memory that it holds."""
        return bool(self._recordings)

    def forget(self) -> None:
        """Drop all recordings, as they are of a program that has changed since."""
        if self._recordings and self._device.type == "cuda":
            # The host runs ahead: one of them may still be at work.
            torch.cuda.synchronize(self._device)
        self._recordings.clear()
        self._seen.clear()
        self._is_trusted = False

    def give_up(self, reason: str) -> None:
        """Replay no more from here on, and let go of the memory that recordings hold.

        Args:
            reason: Why, for the user.
        """
        self.forget()
        self._gradients.clear()
        self._is_given_up = True
        self._say(f"steps run kernel by kernel from here on, not replayed from recordings: {reason}")

    def _hold_gradients(self) -> None:
        """Have every parameter's gradient where recordings add to it; one that there is none of yet begins at zero."""
        pairs = list(zip(self._parameters, self._gradients, strict=True))
        fresh = [place for parameter, place in pairs if parameter.grad is None]
        if fresh:
            torch._foreach_zero_(fresh)
        for parameter, place in pairs:
            if parameter.grad is not None and parameter.grad is not place:
                place.copy_(parameter.grad)
            parameter.grad = place

    def _check_places(self) -> None:
        places = tuple(parameter.data_ptr() for parameter in self._parameters)
        if places != self._places:
            self.forget()
            self._places = places

    def _recorded(self, shape: tuple[int, ...], batch: PackedBatch, num_windows: int) -> _Recording | None:
        inputs = batch.flattened().to(self._device)
        recorded = replace(batch.unflattened(inputs), lengths=_UNKNOWN)
        try:
            recording = _Recording(inputs, self._record(lambda: self._work(recorded, num_windows)))
            self._is_trusted = self._is_trusted or self._agree(recording.replay, recorded, num_windows)
        except RuntimeError as error:
            self.give_up((str(error).strip() or type(error).__name__).splitlines()[0])
            return None
        if not self._is_trusted:
            self.give_up("a recording gave other losses or gradients than the plain run")
            return None
        self._recordings[shape] = recording
        return recording

    def _agree(self, replay: Replay, batch: PackedBatch, num_windows: int) -> bool:
        """Tell whether a recording gives the losses and gradients of a plain run; leaves gradients and draws alone."""
        kept = [place.clone() for place in self._gradients]
        found = []
        try:
            for run in (partial(self._work, batch, num_windows), replay):
                torch._foreach_zero_(self._gradients)
                with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
                    losses = run()
                found.append((losses, torch.cat([place.flatten() for place in self._gradients])))
        finally:
            torch._foreach_copy_(self._gradients, kept)
        return all(
            bool((replayed - plain).norm() <= TOLERANCE * plain.norm()) for plain, replayed in zip(*found, strict=True)
        )


def _pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Put a tensor where a GPU fetches it by itself."""
    return tensor.pin_memory() if device.type == "cuda" else tensor
