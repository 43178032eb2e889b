"""One optimizer step, and what it survives: memory that runs out, and numbers that are none.

**Memory.** The micro-batch is halved and the whole step is done again from the random state it began with; where one
window at a time does not fit, the encoder's activations are recomputed in the backward pass. Loss and gradient are
those of the step's windows, however it is cut: they differ by the rounding of sums, and by dropout, whose draws depend
on the cut. What was found to fit holds for the rest of the run, resumed or not.

**Numbers.** A step whose loss or gradient is infinite or not a number is left out: weights and moments stay, step count
and learning rate go on. Half precision is given up after the first such step. fp16's loss scale is meant to overflow
now and then; only where it has come down below 1 is that a fault.

A CUDA GPU decides itself whether a step is left out, so it can be given the next step before anybody has read what the
last one gave: `Stepper.begin` gives a step to the device, `Stepper.finish` reads its numbers.
"""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from albertqa.errors import RunError
from albertqa.model.load import SpanModel
from albertqa.model.memory import is_out_of_memory
from albertqa.model.recompute import recompute_activations
from albertqa.model.replay import Replayed, recorder_for
from albertqa.training.checkpoint import TrainState
from albertqa.training.objective import Objective
from albertqa.windows.batches import PackedBatch, pack
from albertqa.windows.store import Window


@dataclass(frozen=True)
class Step:
    """What one optimizer step gave.

    Attributes:
        loss: Mean loss of its windows.
        norm: Gradient norm before clipping.
        tokens: Real tokens.
        micro_batch: Windows of one forward and backward, at most.
        faulty_windows: Positions, among the step's windows, of those whose loss is infinite or not a number; all of
            them where only the gradient is. Empty where the step is no fault.
    """

    loss: float
    norm: float
    tokens: int
    micro_batch: int
    faulty_windows: tuple[int, ...]


class _Numbers:
    """Numbers on their way from the device to the host."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values.to("cpu", non_blocking=values.is_cuda)
        self._arrived = torch.cuda.current_stream(values.device).record_event() if values.is_cuda else None

    def read(self) -> list[float]:
        if self._arrived is not None:
            self._arrived.synchronize()
        read: list[float] = self._values.tolist()
        return read


@dataclass(frozen=True)
class Begun:
    """A step that the device was given.

    Attributes:
        number: Its number, from 1.
        numbers: Its loss, its gradient norm before clipping, fp16's scale, and every window's loss.
        is_applied: Whether the weights move, () bool, on the device; a faulty step's do not, nor those of one that
            overflowed fp16's scale.
        is_scaled: Whether there is such a scale.
        tokens: Real tokens.
        micro_batch: Windows of one forward and backward, at most.
    """

    number: int
    numbers: _Numbers
    is_applied: torch.Tensor
    is_scaled: bool
    tokens: int
    micro_batch: int


@dataclass(frozen=True)
class _Pass:
    """Forward and backward over a step's windows: their losses, (W,), the mean of them, and the real tokens."""

    losses: torch.Tensor
    loss: torch.Tensor
    tokens: int


class Stepper:
    """Does the optimizer steps of a run.

    Args:
        model: The model; its precision is lowered where a run has to.
        optimizer: Its optimizer, a fused one.
        objective: What the steps minimize.
        state: Where the run stands.
        micro_batch: Windows of one forward and backward, unless the state says that fewer fit.
        max_grad_norm: Clip the gradient to this norm; 0: never.
        may_recompute: Whether activations may be recomputed where nothing else fits.
        may_replay: Whether a GPU may replay forward and backward from recordings (see `albertqa.model.replay`).
        say: Takes a line for the user.
    """

    def __init__(
        self,
        model: SpanModel,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        *,
        state: TrainState,
        micro_batch: int,
        max_grad_norm: float,
        may_recompute: bool,
        may_replay: bool,
        say: Callable[[str], None],
    ) -> None:
        self._model, self._optimizer, self._objective = model, optimizer, objective
        self._micro_batch, self._max_grad_norm = micro_batch, max_grad_norm
        self._may_recompute, self._say = may_recompute, say
        if state.recompute:
            recompute_activations(model.model)
        if state.fp32_since_step is not None:
            model.autocast_dtype = None
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=model.autocast_dtype is torch.float16)
        # Recomputing puts random states back, which a recording cannot.
        record = recorder_for(model.device) if may_replay and not state.recompute else None
        parameters = [one for one in model.model.parameters() if one.requires_grad]
        self._replayed = Replayed(self._run, parameters, model.device, record=record, say=say) if record else None

    @property
    def may_run_ahead(self) -> bool:
        """Whether the device works by itself, so that the next step should begin before this one is finished."""
        return self._model.device.type == "cuda"

    def begin(self, windows: Sequence[Window], state: TrainState) -> tuple[Begun, TrainState]:
        """Give a step to the device, which does it or leaves it out; where it runs ahead, nobody waits for it.

        Args:
            windows: The step's windows.
            state: Where the run stands before it.

        Returns:
            The step, to be finished, and the state with what was learned of memory; its step is not counted yet.

        Raises:
            RunError: The memory does not hold one window.
        """
        done, state = self._gradient_in_memory(windows, state)
        try:
            self._scaler.unscale_(self._optimizer)
            parameters = self._model.model.parameters()
            norm = torch.nn.utils.clip_grad_norm_(parameters, self._max_grad_norm or math.inf)
            is_applied = done.loss.isfinite() & norm.isfinite()
            scale = self._scaler.scale(torch.ones_like(norm))
            self._apply(is_applied)
            self._scaler.update()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"step {state.step + 1}: out of memory in the optimizer's own arithmetic, where fewer windows are no "
                "help. Use a smaller --model; the last checkpoint is whole"
            ) from error
        return Begun(
            number=state.step + 1,
            numbers=_Numbers(torch.cat([torch.stack([done.loss, norm, scale]), done.losses])),
            is_applied=is_applied,
            is_scaled=self._scaler.is_enabled(),
            tokens=done.tokens,
            micro_batch=self._most(state),
        ), state

    def finish(self, begun: Begun, state: TrainState) -> tuple[Step, TrainState]:
        """Tell what a step gave, once the device has done it.

        Args:
            begun: The step.
            state: Where the run stands now: one step further at least.

        Returns:
            What the step gave, and the state with what was learned of its numbers.
        """
        loss, norm, scale, *losses = begun.numbers.read()
        # A scale of 1 or more may be what overflowed; the scaler lowers it.
        may_overflow = begun.is_scaled and scale >= 1
        is_fault = not math.isfinite(loss) or not (math.isfinite(norm) or may_overflow)
        faulty = [at for at, one in enumerate(losses) if not math.isfinite(one)] or range(len(losses))
        step = Step(
            loss=loss,
            norm=norm,
            tokens=begun.tokens,
            micro_batch=begun.micro_batch,
            faulty_windows=tuple(faulty) if is_fault else (),
        )
        if is_fault:
            return step, self._after_fault(begun.number, step, len(losses), state)
        return step, replace(state, faults_in_a_row=0)

    def _apply(self, is_applied: torch.Tensor) -> None:
        """Move the weights, or do not."""
        if not self.may_run_ahead:
            if is_applied:
                self._optimizer.step()
            return
        # As PyTorch's GradScaler hands it to fused optimizers: where it is 1, they leave the step out on the device.
        self._optimizer.found_inf = (~is_applied).float()  # type: ignore[attr-defined]
        try:
            self._optimizer.step()
        finally:
            del self._optimizer.found_inf  # type: ignore[attr-defined]

    def _most(self, state: TrainState) -> int:
        return state.micro_batch or self._micro_batch

    def _gradient_in_memory(self, windows: Sequence[Window], state: TrainState) -> tuple[_Pass, TrainState]:
        """Give every parameter its gradient, with less memory from try to try until it fits."""
        device = self._model.device
        cpu_rng = torch.get_rng_state()
        cuda_rng = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        while True:
            try:
                return self._gradient(windows, self._most(state)), state
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            had_recordings = self._replayed is not None and self._replayed.has_recordings
            if self._replayed is not None and had_recordings:
                self._replayed.give_up(f"step {state.step + 1} ran out of memory")
            # Behind the handler nothing holds the failed pass's tensors any more, but for what went round in circles.
            gc.collect()
            if cuda_rng is not None:
                torch.cuda.empty_cache()
                torch.cuda.set_rng_state(cuda_rng, device)
            torch.set_rng_state(cpu_rng)
            if not had_recordings:
                state = self._with_less_memory(windows, state)

    def _gradient(self, windows: Sequence[Window], micro_batch: int) -> _Pass:
        self._model.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        losses, loss, tokens = [], torch.zeros((), device=self._model.device), 0
        for first in range(0, len(windows), micro_batch):
            cut = windows[first : first + micro_batch]
            batch = pack(cut, range(len(cut)))
            if self._replayed is not None:
                each = self._replayed(batch, len(windows))
            else:
                each = self._run(batch.to(self._model.device), len(windows))
            losses.append(each)
            loss, tokens = loss + each.sum() / len(windows), tokens + batch.num_tokens
        return _Pass(torch.cat(losses), loss, tokens)

    def _run(self, batch: PackedBatch, num_windows: int) -> torch.Tensor:
        """Run forward and backward of a micro-batch; give every window's loss."""
        losses = self._objective(self._model, batch)
        # The sum over the step's windows divided by their number: the mean, however it is cut into micro-batches.
        self._scaler.scale(losses.sum() / num_windows).backward()
        return losses.detach()

    def _with_less_memory(self, windows: Sequence[Window], state: TrainState) -> TrainState:
        number, tried = state.step + 1, min(self._most(state), len(windows))
        if tried > 1:
            half = tried // 2
            self._say(f"step {number}: out of memory with {_windows(tried)} at a time; done again with {half}, "
                      "and so from here on")  # fmt: skip
            return replace(state, micro_batch=half)
        if self._may_recompute and not state.recompute and recompute_activations(self._model.model):
            self._say(f"step {number}: out of memory with one window at a time; done again with its activations "
                      "recomputed in the backward pass, which is slower, and so from here on")  # fmt: skip
            return replace(state, recompute=True)
        longest = max(len(window.input_ids) for window in windows)
        how = " and its activations recomputed" if state.recompute else ""
        allow = "" if self._may_recompute else ", leave --gradient-checkpointing unset"
        raise RunError(
            f"step {number}: out of memory with one window of {longest} tokens at a time{how}. "
            f"Use a shorter --max-seq-length{allow} or a smaller --model; the last checkpoint is whole"
        )

    def _after_fault(self, number: int, step: Step, num_windows: int, state: TrainState) -> TrainState:
        further = ""
        if self._model.autocast_dtype is not None:
            self._model.autocast_dtype = None
            self._scaler = torch.amp.GradScaler(self._model.device.type, enabled=False)
            if self._replayed is not None:
                self._replayed.forget()
            state = replace(state, fp32_since_step=state.step + 1)
            further = f"; fp32 from step {state.step + 1} on"
        self._say(
            f"step {number}: loss is {step.loss:g}, gradient norm {step.norm:g}; the step was not applied "
            f"({len(step.faulty_windows)} of {_windows(num_windows)}; metrics.jsonl names them){further}"
        )
        return replace(state, faults_in_a_row=state.faults_in_a_row + 1)


def _windows(number: int) -> str:
    return f"{number} window" if number == 1 else f"{number} windows"
