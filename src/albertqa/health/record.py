"""What rules see of a run: the run directory's content, and what follows from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from albertqa.config import Settings
from albertqa.health.curve import Level, tail
from albertqa.rundir.directory import Run, load_run
from albertqa.rundir.rows import EvaluationRow, Row, StepRow
from albertqa.rundir.run_json import DataFacts, MachineFacts, ModelFacts, Part, Plan

# A model that reads is well below what can be had without reading; see `RunRecord.has_learned`.
_LEARNED, _NOT_LEARNED = 0.75, 0.78
# Of augmented windows.
_LEARNED_CHANGED = 0.6
# Encoders leave the ground once their weights have been moved by some thousandths (docs/experiments.md: the starter
# encoder at 0.005 to 0.01; the published recipe goes 0.25 altogether).
SHORTEST_PATH = 0.005
# Passes over the same questions from which on they count as seen often.
MANY_PASSES = 5
# Fewer weights than those have; a model of so few is narrow.
_SMALLEST = 8_000_000
_HIDDEN_SIZES = {"base": 768, "large": 1024, "xlarge": 2048, "xxlarge": 4096, "starter": 384}


@dataclass(frozen=True)
class RunRecord:
    """A run as rules see it.

    Attributes:
        run: The content of its directory.
    """

    run: Run

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.run.settings

    @property
    def steps(self) -> Sequence[StepRow]:
        """Its training steps, in order."""
        return self.run.steps

    @cached_property
    def evaluations(self) -> list[EvaluationRow]:
        """Its evaluations whose loss is a finite number, in order."""
        return [row for row in self.run.evaluations if row.has_loss]

    @cached_property
    def faulty_evaluations(self) -> list[EvaluationRow]:
        """Its evaluations whose loss is NaN or infinite."""
        return [row for row in self.run.evaluations if not row.has_loss]

    @property
    def scores(self) -> dict[str, float]:
        """Content of ``eval.json``; empty before the first evaluation."""
        return self.run.scores

    @property
    def is_alive(self) -> bool | None:
        """Whether a process trains in its directory; None where that is unknown, or the run is over."""
        return self.run.is_alive

    def data(self, part: Part) -> DataFacts:
        """Return the facts of the training or validation data."""
        return self.run.facts.data[part]

    @property
    def model(self) -> ModelFacts:
        """The facts of the model."""
        return self.run.facts.model

    @property
    def machine(self) -> MachineFacts:
        """The facts of the machine."""
        return self.run.facts.machine

    @property
    def plan(self) -> Plan:
        """The plan of steps."""
        return self.run.facts.plan

    @property
    def failure(self) -> str:
        """Why the run failed; empty where it did not."""
        return self.run.facts.failure

    def with_rows(self, rows: Sequence[Row]) -> "RunRecord":
        """Return the record with further rows of a run that goes on."""
        steps = tuple(row for row in rows if isinstance(row, StepRow))
        evaluations = tuple(row for row in rows if isinstance(row, EvaluationRow))
        run = replace(self.run, steps=self.run.steps + steps, evaluations=self.run.evaluations + evaluations)
        return RunRecord(run)

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``stopped early``, ``interrupted`` or ``failed``."""
        return self.run.facts.status

    @property
    def is_over(self) -> bool:
        """Whether the run came to its end, or to one of its own making."""
        return self.status in {"finished", "stopped early", "failed"}

    @property
    def step(self) -> int:
        """Steps done, as the record has them."""
        return self.steps[-1].step if self.steps else 0

    @property
    def total_steps(self) -> int:
        """Steps that the run was to do."""
        return self.plan.total_steps

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Training losses of the steps that have one."""
        return np.asarray([row.loss for row in self.steps if row.has_loss], dtype=np.float64)

    @cached_property
    def faulty_steps(self) -> list[StepRow]:
        """Steps whose loss or gradient is no number; but for what fp16 cannot hold, which is how its scale is found."""
        return [row for row in self.steps if row.skipped or not row.has_loss]

    @cached_property
    def norms(self) -> NDArray[np.float64]:
        """Gradient norms before clipping, of the steps that have one."""
        found = [row.grad_norm for row in self.steps if row.grad_norm is not None and math.isfinite(row.grad_norm)]
        return np.asarray(found, dtype=np.float64)

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """Learning rate of every step."""
        return np.asarray([row.learning_rate for row in self.steps], dtype=np.float64)

    @cached_property
    def loss(self) -> Level | None:
        """Where the training loss stands now; None before ten steps, which say nothing."""
        return tail(self.losses) if len(self.losses) >= min(10, self.total_steps) else None

    def uniform_loss(self, part: Part = "train") -> float:
        """Give the loss of a guess that takes every token of a window for equally likely: mean of ln(tokens)."""
        mean = self.data(part).tokens / self.data(part).windows
        known = self.data(part).uniform_loss
        uniform = math.log(mean) if known is None else float(known)
        # Augmentation makes windows shorter or longer than they are in the data.
        is_changed = part == "train" and self.settings.augment and self.steps
        return uniform + math.log(self._tokens_seen / mean) if is_changed else uniform

    @cached_property
    def _tokens_seen(self) -> float:
        """Mean tokens of the windows that the steps had."""
        step_windows, windows = self.settings.step_windows, self.data("train").windows
        before = [(row.step - 1) % self.plan.steps_per_epoch * step_windows for row in self.steps]
        seen = sum(min(step_windows, windows - first) for first in before)
        return float(sum(row.tokens for row in self.steps) / seen)

    def blind_loss(self, part: Part = "train") -> float:
        """Give the loss of a guess that knows only how many windows hold no answer."""
        empty: float = self.data(part).windows_without_answer / self.data(part).windows
        entropy = -math.fsum(share * math.log(share) for share in (empty, 1 - empty) if share > 0)
        return entropy + (1 - empty) * self.uniform_loss(part)

    @cached_property
    def has_learned(self) -> bool:
        """Whether the model reads: training or validation loss is far below what can be had without reading.

        A model that has learned where answers tend to stand and what they look like, but not to read the question, is
        at about 0.83 of the blind loss (SQuAD, SQuADShifts and the starter set); one that reads is soon below 0.7.
        """
        last = self.evaluations[-1] if self.evaluations else None
        # What an evaluation said holds until the training loss says otherwise: a run can diverge in between.
        holds = last is not None and (self.step - last.step < 10 or not self._is_high)
        if last is not None and holds and last.loss < _LEARNED * self.blind_loss("validation"):
            return True
        # What a crop leaves around an answer gives its place away: the loss falls further without reading.
        share = _LEARNED_CHANGED if self.settings.augment else _LEARNED
        return self.loss is not None and self.loss.high < share * self.blind_loss()

    @cached_property
    def has_not_learned(self) -> bool:
        """Whether the training loss is, beyond its noise, where it can be had without reading (see `has_learned`)."""
        return not self.has_learned and self._is_high

    @property
    def _is_high(self) -> bool:
        return self.loss is not None and self.loss.low > _NOT_LEARNED * self.blind_loss()

    @cached_property
    def ended_unlearned(self) -> bool:
        """Whether the run came to its end without having learned to read."""
        return self.status in {"finished", "stopped early"} and bool(self.evaluations) and not self.has_learned

    @property
    def is_unlearned(self) -> bool:
        """Whether the run has nothing to show: at its end, or in the losses so far."""
        return self.has_not_learned or self.ended_unlearned

    @property
    def passes(self) -> float:
        """How often the training questions have been seen."""
        return self.step / self.plan.steps_per_epoch

    @property
    def is_on_cuda(self) -> bool:
        """Whether the run computes on a CUDA GPU."""
        return str(self.machine.device or "").startswith("cuda")

    @cached_property
    def path(self) -> float:
        """Sum of all learning rates so far: about the farthest that AdamW can have moved any one weight.

        Weights of encoders are some hundredths large, and so is the way that fine-tuning moves them.
        """
        return float(self.rates.sum())

    @cached_property
    def planned_path(self) -> float:
        """What `path` will be at the end of the plan."""
        warmup = min(self.plan.warmup_steps, self.total_steps)
        after = self.total_steps - warmup
        mean = 1.0 if self.settings.lr_scheduler_type == "constant" else 0.5
        risen = warmup / max(1, self.plan.warmup_steps)
        return self.settings.learning_rate * (0.5 * warmup * risen + mean * after)

    @cached_property
    def hidden_size(self) -> int:
        """Width of the encoder; for runs that do not have it, what name and size say, else a base model's."""
        known = self.model.hidden_size
        if known is not None:
            return int(known)
        words = str(self.model.source or "").replace("/", "-").split("-")
        otherwise = _HIDDEN_SIZES["base"] if (self.model.parameters or _SMALLEST) >= _SMALLEST else 128
        return next((size for word, size in _HIDDEN_SIZES.items() if word in words), otherwise)

    @cached_property
    def usual_rate(self) -> float:
        """A learning rate that is usual for an encoder of this width: narrow ones want more, wide ones less.

        The recipe's 3e-5 is for 768; the starter encoder of 384 does best around 2e-4 (docs/experiments.md), and
        ALBERT's larger models want less.
        """
        ratio = 768 / self.hidden_size
        return min(1e-3, 3e-5 * (ratio**2 if ratio > 1 else ratio))

    @property
    def rate_ratio(self) -> float:
        """The run's peak learning rate as a multiple of the usual one."""
        return self.settings.learning_rate / self.usual_rate


def load_record(run: Path) -> RunRecord:
    """Read a run directory (see `albertqa.rundir.directory.load_run`)."""
    return RunRecord(load_run(run))
