"""One optimizer step, and what it survives: out of memory, and NaN or infinite losses and gradients.

**Memory.** The micro-batch is halved and the whole step is done again; where one window at a time does not fit, the
encoder's activations are recomputed in the backward pass. Loss and gradient are those of the step's windows, however
they are divided: they differ by the rounding of sums alone, and on GPUs by what dropout draws
(`albertqa.model.dropout`). What was found to fit holds for the rest of the run, resumed or not, but for CUDA graphs:
a resumed run tries them again.

**GPUs.** In bf16 one process on NVIDIA's replays CUDA graphs (`albertqa.model.cuda_graphs`), until the memory does not
hold them or a pass cannot be recorded.

**Processes.** Several processes (`albertqa.model.world`) divide a step's windows by tokens and add up their gradients
in one exchange; all of them then do the same optimizer step, and use less memory together.

**NaN and infinity.** A step with such a loss or gradient is skipped: weights and moments stay, step count and learning
rate go on. Half precision is given up after the first such step. fp16's loss scale is meant to overflow now and then;
only where it has come down below 1 is that a fault.
"""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from albertqa.config import OptimizerConfig
from albertqa.errors import RunError
from albertqa.files import plural
from albertqa.model.cuda_graphs import RecordedPasses, RecordingError
from albertqa.model.dropout import seeds_of_pass
from albertqa.model.freed_memory import HeapLimit
from albertqa.model.load import SpanModel
from albertqa.model.memory import SHARE_OF_FREE, available_bytes, is_out_of_memory
from albertqa.model.world import ALONE, World
from albertqa.run.checkpoint import Adaptation
from albertqa.run.objective import Objective
from albertqa.windows.batches import PackedBatch, pack
from albertqa.windows.store import Window

MOST_FAULTS = 5
"""Skipped steps in a row with which a run ends."""


@dataclass(frozen=True)
class Step:
    """What one optimizer step gave.

    Attributes:
        loss: Mean loss of its windows.
        norm: Gradient norm before clipping.
        tokens: Real tokens.
        micro_batch: Windows of one forward and backward pass, at most.
        faulty_windows: Positions, among the step's windows, of those whose loss is NaN or infinite; all of them where
            only the gradient is. Empty where the step was not skipped for that.
        ran_out_of_memory: Whether it had to be done again with fewer windows at a time, or recomputing activations.
    """

    loss: float
    norm: float
    tokens: int
    micro_batch: int
    faulty_windows: tuple[int, ...]
    ran_out_of_memory: bool


class Stepper:
    """Does the optimizer steps of a run.

    Args:
        model: The model; its precision is lowered where a run has to.
        optimizer: Its optimizer.
        objective: What the steps minimize.
        config: Windows of a pass, clipping.
        adaptation: What earlier steps were adapted to; changed as steps run out of memory or numbers.
        world: The processes that share each step's windows.
        may_recompute: Whether activations may be recomputed where nothing else fits.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        model: SpanModel,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        config: OptimizerConfig,
        adaptation: Adaptation,
        world: World = ALONE,
        *,
        may_recompute: bool = True,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.adaptation, self.world = adaptation, world
        self._model, self._optimizer, self._objective, self._config = model, optimizer, objective, config
        self._may_recompute, self._say = may_recompute, say
        if adaptation.recompute:
            model.recompute_activations()
        if adaptation.fp32_since_step is not None:
            model.autocast_dtype = None
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=model.autocast_dtype is torch.float16)
        self._recorded: RecordedPasses | None = None
        if _is_replayed(model) and world.size == 1:
            trained = [one for one in model.model.parameters() if one.requires_grad]
            run = partial(_run_pass, model, objective, self._scaler)
            self._recorded = RecordedPasses(run, trained, model.device)
        self._heap_limit: HeapLimit | None = None
        if model.device.type == "cpu":
            self._heap_limit = HeapLimit(int(SHARE_OF_FREE * available_bytes(model.device)))

    @property
    def micro_batch(self) -> int:
        """Windows of one forward and backward pass, at most."""
        return self.adaptation.micro_batch or self._config.train_batch_size

    def step(self, windows: Sequence[Window], number: int, learning_rate: float) -> Step:
        """Do an optimizer step, or skip it where its numbers are NaN or infinite.

        Args:
            windows: The step's windows.
            number: The step's number, from 1.
            learning_rate: Its learning rate.

        Raises:
            RunError: The memory does not hold one window, or loss or gradient is NaN or infinite in step after step.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        before = (self.adaptation.micro_batch, self.adaptation.recompute)
        losses, tokens = self._gradient_in_memory(windows, number)
        loss = float(losses.sum()) / len(windows)
        try:
            self._scaler.unscale_(self._optimizer)
            parameters = self._model.model.parameters()
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._config.max_grad_norm or math.inf))
            # A scale of 1 or more may be what overflowed; the scaler lowers it.
            may_overflow = self._scaler.is_enabled() and self._scaler.get_scale() >= 1
            if math.isfinite(loss) and math.isfinite(norm):
                self._optimizer.step()
            self._scaler.update()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise RunError(
                f"step {number}: out of memory in the optimizer's own arithmetic, where fewer windows do not help. "
                "Use a smaller --model; the last checkpoint is complete"
            ) from error
        is_fault = not math.isfinite(loss) or not (math.isfinite(norm) or may_overflow)
        faulty = [at for at, one in enumerate(losses.tolist()) if not math.isfinite(one)] or range(len(windows))
        ran_out = before != (self.adaptation.micro_batch, self.adaptation.recompute)
        step = Step(loss, norm, tokens, self.micro_batch, tuple(faulty) if is_fault else (), ran_out)
        self._count_faults(step, number, len(windows))
        if self._heap_limit is not None:
            self._heap_limit.after_step()
        return step

    def check_faults(self, step: Step, number: int, learning_rate: float) -> None:
        """End a run whose steps are skipped again and again.

        Raises:
            RunError: Too many steps in a row were skipped.
        """
        if self.adaptation.faults_in_a_row >= MOST_FAULTS:
            raise RunError(
                f"step {number}: loss is {step.loss:g}, gradient norm {step.norm:g}, the {MOST_FAULTS}th such step in "
                f"a row; none of them was applied. Lower --learning-rate (now {learning_rate:g}), or look at the "
                "windows that metrics.jsonl names; the last checkpoint is complete"
            )

    def _gradient_in_memory(self, windows: Sequence[Window], number: int) -> tuple[torch.Tensor, int]:
        """Compute the gradients, with less memory from try to try until they fit in every process."""
        device = self._model.device
        shares = self.world.shares(np.array([len(window.input_ids) for window in windows]))
        while True:
            losses, reason = None, "out of memory"
            try:
                losses = self._gradient(windows, shares[self.world.rank], number)
            except RecordingError as error:
                reason = str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if not self.world.any(losses is None) and losses is not None:
                return self._summed(losses, windows)
            had_graphs, self._recorded = self._recorded is not None, None
            # Outside the handler nothing holds the failed pass's tensors any more, but for reference cycles.
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            if had_graphs:
                self._say(f"step {number}: without CUDA graphs from here on, which is slower: {reason}")
                continue
            self._use_less_memory(windows, number, most=max(map(len, shares)))

    def _gradient(self, windows: Sequence[Window], mine: NDArray[np.int64], number: int) -> torch.Tensor:
        """Add up the gradients of this process's windows; return the loss of every window, 0 for the others'."""
        self._model.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        if self._recorded is not None:
            self._recorded.begin_step()
        losses = torch.zeros(len(windows), device=self._model.device)
        for first in range(0, len(mine), self.micro_batch):
            part = mine[first : first + self.micro_batch]
            seeds = seeds_of_pass(self._model.device, self._config.seed, number, part)
            batch = pack(windows, part, dropout_seeds=seeds)
            if self._recorded is None:
                batch = batch.to(self._model.device)
                each = _run_pass(self._model, self._objective, self._scaler, batch, len(part), len(windows))
            else:
                each = self._recorded(batch, len(windows))
            losses[torch.from_numpy(part).to(losses.device)] = each
        return losses

    def _summed(self, losses: torch.Tensor, windows: Sequence[Window]) -> tuple[torch.Tensor, int]:
        """Add up gradients and losses over all processes, in one exchange; return the losses, and the step's tokens."""
        if self.world.size > 1:
            trained = [one for one in self._model.model.parameters() if one.requires_grad]
            for parameter in trained:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            parts = [*(one.grad for one in trained if one.grad is not None), losses]
            flat = torch.cat([part.flatten() for part in parts])
            self.world.sum_(flat)
            for part, total in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
                part.copy_(total.view_as(part))
        return losses, sum(len(window.input_ids) for window in windows)

    def _use_less_memory(self, windows: Sequence[Window], number: int, *, most: int) -> None:
        tried = min(self.micro_batch, most)
        if tried > 1:
            self.adaptation.micro_batch = tried // 2
            self._say(
                f"step {number}: out of memory with {plural(tried, 'window')} at a time; done again with "
                f"{self.adaptation.micro_batch}, as all later steps are"
            )
            return
        if self._may_recompute and not self.adaptation.recompute:
            self.adaptation.recompute = True
            self._model.recompute_activations()
            self._say(
                f"step {number}: out of memory with one window at a time; done again with its activations recomputed "
                "in the backward pass, which is slower, as all later steps are"
            )
            return
        longest = max(len(window.input_ids) for window in windows)
        how = " and its activations recomputed" if self.adaptation.recompute else ""
        allow = "" if self._may_recompute else ", leave --gradient-checkpointing unset"
        raise RunError(
            f"step {number}: out of memory with one window of {longest} tokens at a time{how}. "
            f"Use a shorter --max-seq-length{allow} or a smaller --model; the last checkpoint is complete"
        )

    def _count_faults(self, step: Step, number: int, num_windows: int) -> None:
        if not step.faulty_windows:
            self.adaptation.faults_in_a_row = 0
            return
        self.adaptation.faults_in_a_row += 1
        further = ""
        if self._model.autocast_dtype is not None:
            self._model.autocast_dtype = None
            self._scaler = torch.amp.GradScaler(self._model.device.type, enabled=False)
            self._recorded = None
            self.adaptation.fp32_since_step = number + 1
            further = f"; fp32 from step {number + 1} on"
        self._say(
            f"step {number}: loss is {step.loss:g}, gradient norm {step.norm:g}; the step was not applied "
            f"({len(step.faulty_windows)} of {plural(num_windows, 'window')}; metrics.jsonl names them){further}"
        )


def _run_pass(
    model: SpanModel,
    objective: Objective,
    scaler: torch.amp.GradScaler,
    batch: PackedBatch,
    counted: int,
    num_windows: int,
) -> torch.Tensor:
    """Do a forward and backward pass.

    Args:
        model: The model.
        objective: What is minimized.
        scaler: fp16's.
        batch: The pass's windows, on the device.
        counted: The first so many count.
        num_windows: Windows of the whole step.

    Returns:
        The losses of the windows that count, detached.
    """
    each = objective(model, batch)[:counted]
    # The sum over the step's windows divided by their number is the mean, however they are divided.
    scaler.scale(each.sum() / num_windows).backward()
    return each.detach()


def _is_replayed(model: SpanModel) -> bool:
    """Report whether passes are quick enough for the host to be what is waited for, and can be recorded."""
    if model.device.type != "cuda" or torch.version.hip is not None or model.model.recompute:
        return False
    is_current = model.device.index in {None, torch.cuda.current_device()}
    return is_current and model.autocast_dtype is torch.bfloat16
