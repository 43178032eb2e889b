"""``run.json``: where a run is, and where its numbers come from."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from albertqa.errors import RunError
from albertqa.files import RUN_JSON, write_json
from albertqa.schema import PUT_BACK, convert, read_object

Part = Literal["train", "validation"]
PART_NAMES: dict[Part, str] = {"train": "training", "validation": "validation"}
STATUSES = ("running", "finished", "stopped early", "interrupted", "failed")

_Count = Annotated[int, Meta(ge=1)]
_Least0 = Annotated[int, Meta(ge=0)]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps there are and what happens when; all in optimizer steps.

    Attributes:
        steps_per_epoch: Steps of one pass over the windows.
        total_steps: Steps of the run.
        warmup_steps: Steps of the warm-up.
        eval_every_steps: Steps between evaluations.
        save_every_steps: Steps between checkpoints.
    """

    steps_per_epoch: _Count
    total_steps: _Count
    warmup_steps: _Least0
    eval_every_steps: int = 0
    save_every_steps: int = 0


class AnswerFit(msgspec.Struct, frozen=True, kw_only=True):
    """How well answers fit their questions, by the words near them (see `albertqa.data.answer_fit`).

    Attributes:
        questions: Questions compared.
        others_fit_better: Mean share of the other answers on a question's context that fit it better than its own.
        error: Standard error of that mean.
        at_home: Share of the questions with a rare word in their own context.
        elsewhere: Share with one in some other question's context.
        asked: Questions with several rare words that the contexts have.
        strange: Share of those that have none of them in their own context.
        quarters: The same for each quarter of the data, in order; None: nothing to compare.
    """

    questions: _Least0
    others_fit_better: float
    error: float
    at_home: float = 0.0
    elsewhere: float = 0.0
    asked: _Least0 = 0
    strange: float = 0.0
    quarters: "list[AnswerFit | None]" = []

    @property
    def low(self) -> float:
        """What the true mean is hardly below."""
        return self.others_fit_better - 2 * self.error

    @property
    def high(self) -> float:
        """What the true mean is hardly above."""
        return self.others_fit_better + 2 * self.error


class TextFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies a data set, and what its texts and answers are like, whatever the tokenizer.

    Runs of earlier versions lack some of it (None). `albertqa.data.label_checks` and `text_damage` explain it.
    """

    sources: list[str] = []
    content_sha256: str = ""
    questions: _Count
    without_answer: _Least0
    contexts: int | None = None
    repeated_questions: int | None = None
    contradicting_questions: int | None = None
    question_letters_mean: float | None = None
    context_letters_mean: float | None = None
    gold_words_mean: float | None = None
    same_start_percent: float | None = None
    golds_at_end_percent: float | None = None
    golds_whole_words_percent: float | None = None
    function_word_ends_percent: float | None = None
    answers_shift: int | None = None
    answer_fit: AnswerFit | None = None
    word_letters_mean: float | None = None
    upper_case_percent: float | None = None
    markup_percent: float | None = None
    mojibake_percent: float | None = None
    doubled_percent: float | None = None
    long_words_percent: float | None = None
    long_questions_percent: float | None = None
    questions_in_contexts_percent: float | None = None
    golds_in_questions_percent: float | None = None
    same_answer_percent: float | None = None
    whole_sentences_percent: float | None = None
    # Of validation data, beside the training data:
    shared_contexts_percent: float | None = None
    shared_questions_percent: float | None = None
    frequent_words_percent: float | None = None
    frequent_words_percent_train: float | None = None
    other_scripts_percent: float | None = None
    rare_question_words: list[str] | None = None
    rare_question_words_percent: float | None = None
    seen_by_model_percent: float | None = None

    @property
    def answered(self) -> int:
        """Questions with an answer."""
        return self.questions - self.without_answer


class DataFacts(TextFacts, frozen=True, kw_only=True):
    """What a run knows of a data set: its texts, and what a tokenizer and window lengths make of them."""

    windows: _Count
    windows_without_answer: _Least0
    tokens: _Count
    uniform_loss: float | None = None
    question_tokens_mean: float | None = None
    context_tokens_mean: float | None = None
    unknown_tokens_percent: float | None = None
    golds: int | None = None
    golds_in_no_window: int | None = None
    golds_too_long: int | None = None
    golds_exact_percent: float | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a run: what it trained on and what it was evaluated on."""

    train: DataFacts
    validation: DataFacts

    def __getitem__(self, part: Part) -> DataFacts:
        return self.train if part == "train" else self.validation


class TokenizerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the tokenizer treats upper case, and whether its pieces belong to the embeddings (see `run.inspection`)."""

    vocabulary: int | None = None
    segments: list[int] | None = None
    folds_case: bool | None = None
    case_setting: str = ""
    cased_pieces_percent: float | None = None
    related_pieces: int | None = None
    related_pieces_percent: float | None = None


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The encoder: where it came from, its sizes and dropout, and whether it was ever trained.

    ``random_layers`` are the layers, from 0, whose weights are as random ones are drawn.
    """

    source: str = ""
    type: str = ""
    parameters: int | None = None
    trainable_parameters: int | None = None
    tokenizer_sha256: str = ""
    hidden_size: int | None = None
    layers: int | None = None
    max_positions: int | None = None
    vocabulary: int | None = None
    segment_types: int | None = None
    hidden_dropout: float | None = None
    attention_dropout: float | None = None
    untrained: bool | None = None
    random_layers: list[int] = []
    tokenizer: TokenizerFacts = TokenizerFacts()


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the run computes on."""

    device: str = ""
    device_name: str = ""
    precision: str = ""
    threads: int | None = None
    platform: str = ""
    fast_bf16: bool | None = None
    disk_free_bytes: int | None = None
    swap_used_bytes: int | None = None


class RunJson(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``run.json``; runs of earlier versions lack what has a default.

    Attributes:
        status: ``running``, ``finished``, ``stopped early``, ``interrupted`` or ``failed``.
        failure: Why it failed, if it did.
        started: When the run began, and when it was resumed (UTC).
        updated: When the file was written.
        step: Optimizer steps done.
        best_step: Step of the best model; 0 before the first evaluation.
        train_seconds: Time of the steps.
        command: The process's command line.
        seed: The run's seed.
        plan: The steps.
        version_2: Whether questions may have no answer.
        fit: What was measured of the memory before the steps; None where nothing was.
        micro_batch: Windows of one forward and backward pass.
        recompute: Whether activations are recomputed in the backward pass.
        fp32_since_step: First step in full precision, where the run gave up half precision.
        data: Facts of the training and validation data.
        augmentation: How often each augmentation applied.
        model: Facts of the encoder.
        machine: Facts of the machine.
        versions: Versions of Python and of the libraries.
        world_size: Processes that train together.
    """

    status: str
    failure: str = ""
    started: list[str] = []
    updated: str = ""
    step: int = 0
    best_step: int = 0
    train_seconds: float = 0.0
    command: list[str] = []
    seed: int | None = None
    plan: Plan
    version_2: bool = False
    fit: dict[str, Any] | None = None
    micro_batch: int | None = None
    recompute: bool = False
    fp32_since_step: int | None = None
    data: Data
    augmentation: dict[str, dict[str, int]] = {}
    model: ModelFacts = ModelFacts()
    machine: MachineFacts = MachineFacts()
    versions: dict[str, str] = {}
    world_size: int = 1

    @property
    def least_steps(self) -> int:
        """Steps that ``metrics.jsonl`` must have; a run that goes on, or failed, has done more than this says."""
        if self.status == "finished":
            return self.plan.total_steps
        return self.step if self.status in {"stopped early", "interrupted"} else 0


def read_run_json(run: Path) -> RunJson:
    """Read a run's ``run.json``.

    Raises:
        RunError: It is missing or damaged.
    """
    path = run / RUN_JSON
    content = read_object(path)
    if not all(name in content for name in ("status", "plan", "data")):
        raise RunError(
            f"{path}: expected status, plan and data of a run, found others; was it written by 'albertqa train'?"
        )
    facts = convert(content, RunJson, str(path))
    if facts.status not in STATUSES:
        raise RunError(
            f"{path}: expected status to be one of {', '.join(STATUSES)}, found '{facts.status}'. {PUT_BACK}"
        )
    return facts


def write_run_json(run: Path, facts: RunJson) -> None:
    """Write a run's ``run.json``."""
    write_json(run / RUN_JSON, msgspec.to_builtins(facts))
