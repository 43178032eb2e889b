"""What rules see of a run: the run directory's content, and what follows from it."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from albertqa.config import Settings
from albertqa.health.curve import Level, Series, tail
from albertqa.rundir.directory import Run, load_run
from albertqa.rundir.rows import EvaluationRow, Row, StepRow
from albertqa.rundir.run_json import DataFacts, MachineFacts, ModelFacts, Part, Plan, TextFacts

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


class History:
    """The steps and evaluations so far; grows row by row, and keeps what rules ask of all rows.

    Args:
        rows: Rows to begin with.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.steps: list[StepRow] = []
        self.evaluations: list[EvaluationRow] = []
        """Evaluations with a finite loss."""
        self.faulty_evaluations: list[EvaluationRow] = []
        """Evaluations whose loss is NaN or infinite."""
        self.faulty_steps: list[StepRow] = []
        """Steps with a NaN or infinite loss or gradient; not those that fp16 overflows in to find its scale."""
        self.overflowed_steps = 0
        """Steps without a gradient norm that were not skipped as faulty: fp16 overflowed."""
        self.out_of_memory_steps: list[StepRow] = []
        self.tokens = 0
        self._losses, self._norms, self._rates = Series(), Series(), Series()
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a step or an evaluation."""
        if isinstance(row, EvaluationRow):
            (self.evaluations if row.has_loss else self.faulty_evaluations).append(row)
            return
        self.steps.append(row)
        self.tokens += row.tokens
        self._rates.append(row.learning_rate)
        if row.has_loss:
            self._losses.append(row.loss)
        if row.grad_norm is not None and math.isfinite(row.grad_norm):
            self._norms.append(row.grad_norm)
        if row.skipped or not row.has_loss:
            self.faulty_steps.append(row)
        self.overflowed_steps += row.grad_norm is None and not row.skipped
        if row.out_of_memory:
            self.out_of_memory_steps.append(row)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Training losses of the steps that have one."""
        return self._losses.values

    @property
    def norms(self) -> NDArray[np.float64]:
        """Gradient norms before clipping, of the steps that have one."""
        return self._norms.values

    @property
    def rates(self) -> NDArray[np.float64]:
        """Learning rate of every step."""
        return self._rates.values


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

    def tokenized_parts(self) -> Iterator[tuple[Part, DataFacts]]:
        """Yield the data sets whose windows are known."""
        for part, facts in self.parts():
            if isinstance(facts, DataFacts):
                yield part, facts

    def tokenized(self, part: Part) -> DataFacts | None:
        """Return the facts of one data set; None where there is none, or its windows are not known."""
        return dict(self.tokenized_parts()).get(part)


@dataclass(frozen=True)
class RunRecord:
    """A run as rules see it: a view that is made anew for every look, as its properties are computed once.

    Attributes:
        run: The content of its directory; the rows in it are not looked at.
        history: Its steps and evaluations.
    """

    run: Run
    history: History

    @classmethod
    def of(cls, run: Run) -> "RunRecord":
        """Return the record of a run with the rows that its directory has."""
        return cls(run, History([*run.steps, *run.evaluations]))

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.run.settings

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run.path

    @property
    def steps(self) -> Sequence[StepRow]:
        """Its training steps, in order."""
        return self.history.steps

    @property
    def evaluations(self) -> Sequence[EvaluationRow]:
        """Its evaluations whose loss is a finite number, in order."""
        return self.history.evaluations

    @property
    def losses(self) -> NDArray[np.float64]:
        """Training losses of the steps that have one."""
        return self.history.losses

    @property
    def norms(self) -> NDArray[np.float64]:
        """Gradient norms before clipping, of the steps that have one."""
        return self.history.norms

    @property
    def rates(self) -> NDArray[np.float64]:
        """Learning rate of every step."""
        return self.history.rates

    @property
    def scores(self) -> dict[str, float]:
        """Content of ``eval.json``; empty before the first evaluation."""
        return self.run.scores

    @property
    def data_view(self) -> DataView:
        """The run as the rules about data see it."""
        data = self.run.facts.data
        return DataView(self.settings, data.train, data.validation, self.path, self.model.max_positions)

    def without_last_evaluation(self) -> "RunRecord":
        """Return the record as it would be if the last evaluation had not been done."""
        history = copy.copy(self.history)
        history.evaluations = history.evaluations[:-1]
        return RunRecord(self.run, history)

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
        return self.run.facts.failure if self.status == "failed" else ""

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
        """Steps done."""
        return self.steps[-1].step if self.steps else 0

    @property
    def total_steps(self) -> int:
        """Steps that the run was to do."""
        return self.plan.total_steps

    @cached_property
    def loss(self) -> Level | None:
        """The training loss now; None before ten steps, which say nothing."""
        return tail(self.losses) if len(self.losses) >= min(10, self.total_steps) else None

    def uniform_loss(self, part: Part = "train") -> float:
        """Return the loss of the uniform baseline, to which every token of a window is equally likely."""
        mean = self.data(part).tokens / self.data(part).windows
        known = self.data(part).uniform_loss
        uniform = math.log(mean) if known is None else known
        # Augmentation makes windows shorter or longer than they are in the data.
        is_changed = part == "train" and self.settings.augment and self.steps
        return uniform + math.log(self._tokens_seen / mean) if is_changed else uniform

    @property
    def _tokens_seen(self) -> float:
        """Mean tokens of the windows that the steps had."""
        epochs, steps = divmod(self.step, self.plan.steps_per_epoch)
        return self.history.tokens / (epochs * self.data("train").windows + steps * self.settings.step_windows)

    def blind_loss(self, part: Part = "train") -> float:
        """Return the uniform baseline's loss where it also knows the share of windows without an answer."""
        empty = self.data(part).windows_without_answer / self.data(part).windows
        entropy = -math.fsum(share * math.log(share) for share in (empty, 1 - empty) if share > 0)
        return entropy + (1 - empty) * self.uniform_loss(part)

    @cached_property
    def has_learned(self) -> bool:
        """Whether the model reads: training or validation loss is far below what can be had without reading.

        A model that has learned where answers tend to be and what they look like, but not to read the question, is at
        about 0.83 of the baseline (SQuAD, SQuADShifts and the starter set); one that reads is soon below 0.7.
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
    def ended_unread(self) -> bool:
        """Whether the run came to its end with a validation loss that can be had without reading.

        A model that memorises few questions has a low training loss all the same.
        """
        is_done = self.status in {"finished", "stopped early"} and bool(self.evaluations)
        return is_done and self.evaluations[-1].loss > _NOT_LEARNED * self.blind_loss("validation")

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
        return self.machine.device.startswith("cuda")

    @cached_property
    def change_so_far(self) -> float:
        """Sum of all learning rates so far: about the most that AdamW can have changed any one weight.

        Weights of encoders are some hundredths large, and so is the way that fine-tuning moves them.
        """
        return float(self.rates.sum())

    @cached_property
    def largest_change(self) -> float:
        """What `change_so_far` will be at the end of the plan."""
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
            return known
        words = self.model.source.replace("/", "-").split("-")
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
    return RunRecord.of(load_run(run))
