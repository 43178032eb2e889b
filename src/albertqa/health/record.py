"""What rules see of data and of a run: the run directory's content, and what follows from it."""

import copy
import functools
import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from albertqa.config import Settings
from albertqa.health.curve import Level, level
from albertqa.rundir.directory import Run, load_run
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow, Row, StepRow
from albertqa.rundir.run_json import DataFacts, Part, TextFacts

# A model that reads is well below what can be had without reading; see `RunRecord.has_learned`.
_LEARNED, _NOT_LEARNED = 0.75, 0.78
# With augmented windows.
_LEARNED_CHANGED = 0.6
# Encoders begin to learn once their weights have moved by some thousandths (docs/experiments.md: the starter encoder at
# 0.005 to 0.01; the published recipe goes 0.25 altogether).
SHORTEST_PATH = 0.005
# Passes over the same questions from which on they count as seen often.
MANY_PASSES = 5
# Fewer weights than the base models have; a model of so few is narrow.
_SMALLEST = 8_000_000
_HIDDEN_SIZES = {"base": 768, "large": 1024, "xlarge": 2048, "xxlarge": 4096, "starter": 384}


@dataclass(frozen=True)
class DataView:
    """What the rules about data see: a run's data, or data files that no run has.

    Attributes:
        settings: Where the data is, and the window lengths.
        train: Facts of the training data; `DataFacts` where there is a tokenizer.
        validation: Facts of the validation data; None: there is none.
        path: The run directory; None: there is none.
        max_positions: Maximum tokens of the model's windows; None: unknown.
    """

    settings: Settings
    train: TextFacts
    validation: TextFacts | None = None
    path: Path | None = None
    max_positions: int | None = None

    def parts(self) -> Iterator[tuple[Part, TextFacts]]:
        """Yield the data sets that there are."""
        yield "train", self.train
        if self.validation is not None:
            yield "validation", self.validation

    def other(self, part: Part) -> TextFacts | None:
        """Return the facts of the data set beside one; None: there is none."""
        return self.validation if part == "train" else self.train


DataRule: TypeAlias = Callable[[DataView], Iterator[Finding]]


def of_each_part(rule: Callable[[DataView, Part, TextFacts], Iterator[Finding]]) -> DataRule:
    """Turn a rule about one data set into a rule about data: each of its data sets is looked at."""

    @functools.wraps(rule)
    def look(view: DataView) -> Iterator[Finding]:
        for part, facts in view.parts():
            yield from rule(view, part, facts)

    return look


class RunRecord(DataView):
    """A run as rules see it.

    Args:
        run: The content of its directory; the rows in it are not looked at.
        rows: Its steps and evaluations so far.

    Attributes:
        run: See there; `model`, `machine`, `status` and `plan` are its facts.
        failure: Why the run failed; empty where it did not.
        total_steps: Steps that the run was to do.
        steps: Its training steps, in order.
        evaluations: Its evaluations whose loss is a finite number, in order.
        faulty_evaluations: The others.
        faulty_steps: Steps with a NaN or infinite loss or gradient; not those that fp16 overflows in to find its scale.
        overflowed_steps: How many steps have no gradient norm and were not skipped as faulty: fp16 overflowed.
        out_of_memory_steps: Steps that the memory did not hold as they were first tried.
        tokens: Real tokens of all steps.
        change_so_far: Sum of all learning rates: about the most that AdamW can have changed any one weight. Weights of
            encoders are some hundredths large, and so is the way that fine-tuning moves them.
        losses: Training losses of the steps that have one.
        norms: Gradient norms before clipping, of the steps that have one.
        rates: Learning rate of every step.
    """

    train: DataFacts
    validation: DataFacts
    path: Path

    def __init__(self, run: Run, rows: Iterable[Row]) -> None:
        facts = run.facts
        super().__init__(run.settings, facts.data.train, facts.data.validation, run.path, facts.model.max_positions)
        self.run, self.model, self.machine = run, facts.model, facts.machine
        self.status, self.failure = facts.status, facts.failure if facts.status == "failed" else ""
        self.plan, self.total_steps = facts.plan, facts.plan.total_steps
        self.steps: list[StepRow] = []
        self.evaluations: list[EvaluationRow] = []
        self.faulty_evaluations: list[EvaluationRow] = []
        self.faulty_steps: list[StepRow] = []
        self.out_of_memory_steps: list[StepRow] = []
        self.overflowed_steps = self.tokens = 0
        self.change_so_far = 0.0
        # Slices of these are copies; an array that NumPy has a view of cannot grow.
        self.losses, self.norms, self.rates = array("d"), array("d"), array("d")
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a step or an evaluation."""
        if isinstance(row, EvaluationRow):
            (self.evaluations if math.isfinite(row.loss) else self.faulty_evaluations).append(row)
            return
        self.steps.append(row)
        self.tokens += row.tokens
        self.change_so_far += row.learning_rate
        self.rates.append(row.learning_rate)
        has_loss = math.isfinite(row.loss)
        if has_loss:
            self.losses.append(row.loss)
        if row.grad_norm is not None and math.isfinite(row.grad_norm):
            self.norms.append(row.grad_norm)
        if row.skipped or not has_loss:
            self.faulty_steps.append(row)
        self.overflowed_steps += row.grad_norm is None and not row.skipped
        if row.out_of_memory:
            self.out_of_memory_steps.append(row)

    def without_last_evaluation(self) -> "RunRecord":
        """Return the record as it would be if the last evaluation had not been done."""
        record = copy.copy(self)
        record.evaluations = self.evaluations[:-1]
        return record

    @property
    def step(self) -> int:
        """Steps done."""
        return self.steps[-1].step if self.steps else 0

    @property
    def passes(self) -> float:
        """How often the training questions have been seen."""
        return self.step / self.plan.steps_per_epoch

    @property
    def loss(self) -> Level | None:
        """The training loss now, of the last fifth of the steps, 10 to 200; None before ten, which say nothing."""
        count = len(self.losses)
        return level(self.losses[-max(10, min(200, count // 5)) :]) if count >= min(10, self.total_steps) else None

    def uniform_loss(self, part: Part = "train") -> float:
        """Return the loss of the uniform baseline, to which every token of a window is equally likely."""
        facts = self.run.facts.data[part]
        mean = facts.tokens / facts.windows
        uniform = math.log(mean) if facts.uniform_loss is None else facts.uniform_loss
        if part == "validation" or not self.settings.augment or not self.steps:
            return uniform
        # Augmentation makes windows shorter or longer than they are in the data.
        epochs, steps = divmod(self.step, self.plan.steps_per_epoch)
        windows_seen = epochs * facts.windows + steps * self.settings.step_windows
        return uniform + math.log(self.tokens / windows_seen / mean)

    def blind_loss(self, part: Part = "train") -> float:
        """Return the uniform baseline's loss where it also knows the share of windows without an answer."""
        facts = self.run.facts.data[part]
        empty = facts.windows_without_answer / facts.windows
        entropy = -math.fsum(share * math.log(share) for share in (empty, 1 - empty) if share > 0)
        return entropy + (1 - empty) * self.uniform_loss(part)

    @property
    def has_learned(self) -> bool:
        """Whether the model reads: training or validation loss is far below what can be had without reading.

        A model that has learned where answers tend to be and what they look like, but not to read the question, is at
        about 0.83 of the baseline (SQuAD, SQuADShifts and the starter set); one that reads is soon below 0.7.
        """
        if self.evaluations:
            last = self.evaluations[-1]
            # What an evaluation said holds until the training loss says otherwise: a run can diverge in between.
            holds = self.step - last.step < 10 or not self._is_high
            if holds and last.loss < _LEARNED * self.blind_loss("validation"):
                return True
        # What a crop leaves around an answer gives its place away: the loss falls further without reading.
        share = _LEARNED_CHANGED if self.settings.augment else _LEARNED
        return (loss := self.loss) is not None and loss.high < share * self.blind_loss()

    @property
    def has_not_learned(self) -> bool:
        """Whether the training loss is, beyond its noise, where it can be had without reading (see `has_learned`)."""
        return self._is_high and not self.has_learned

    @property
    def _is_high(self) -> bool:
        return (loss := self.loss) is not None and loss.low > _NOT_LEARNED * self.blind_loss()

    @property
    def has_ended(self) -> bool:
        """Whether the run came to its end, or to one of its own making, and was evaluated."""
        return self.status in {"finished", "stopped early"} and bool(self.evaluations)

    @property
    def ended_unlearned(self) -> bool:
        """Whether the run came to its end without having learned to read."""
        return self.has_ended and not self.has_learned

    @property
    def ended_unread(self) -> bool:
        """Whether the run came to its end with a validation loss that can be had without reading.

        A model that memorises few questions has a low training loss all the same.
        """
        return self.has_ended and self.evaluations[-1].loss > _NOT_LEARNED * self.blind_loss("validation")

    @property
    def largest_change(self) -> float:
        """What `change_so_far` will be at the end of the plan."""
        warmup = min(self.plan.warmup_steps, self.total_steps)
        after = self.total_steps - warmup
        mean = 1.0 if self.settings.lr_scheduler_type == "constant" else 0.5
        risen = warmup / max(1, self.plan.warmup_steps)
        return self.settings.learning_rate * (0.5 * warmup * risen + mean * after)

    @property
    def usual_rate(self) -> float:
        """A learning rate that is usual for an encoder of this width: narrow ones want more, wide ones less.

        The recipe's 3e-5 is for 768; the starter encoder of 384 does best around 2e-4 (docs/experiments.md), and
        ALBERT's larger models want less.
        """
        ratio = 768 / self._hidden_size
        return min(1e-3, 3e-5 * (ratio**2 if ratio > 1 else ratio))

    @property
    def _hidden_size(self) -> int:
        """Width of the encoder; for runs that do not have it, what name and size say, else a base model's."""
        if self.model.hidden_size is not None:
            return self.model.hidden_size
        words = self.model.source.replace("/", "-").split("-")
        otherwise = _HIDDEN_SIZES["base"] if (self.model.parameters or _SMALLEST) >= _SMALLEST else 128
        return next((size for word, size in _HIDDEN_SIZES.items() if word in words), otherwise)

    @property
    def rate_ratio(self) -> float:
        """The run's peak learning rate as a multiple of the usual one."""
        return self.settings.learning_rate / self.usual_rate


def load_record(run: Path) -> RunRecord:
    """Read a run directory (see `albertqa.rundir.directory.load_run`)."""
    content = load_run(run)
    return RunRecord(content, (*content.steps, *content.evaluations))
