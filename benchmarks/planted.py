"""Faults planted into runs, and sound runs, for `benchmarks.doctor`: real trainings of the starter encoder.

A case says what was done to data, settings or model. Data, seed and size differ from case to case, and nothing here is
shared with the rules: faults are made as people make them.
"""

import csv
import json
import os
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from albertqa.data.example import Example, Gold
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.files import TRAINED_ON_JSON
from albertqa.model.starter_model import starter_encoder
from benchmarks.data import ROOT

Examples = list[Example]
Change = Callable[[Examples, random.Random], Examples]

DATA = Path(os.environ.get("ALBERTQA_DATA", ROOT.parent / "shared" / "data"))
# Short texts, for runs of two minutes on one core.
_LONGEST_CONTEXT = 640


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        data: Name of its data, a key of `SOURCES`.
        questions: Training and validation questions.
        seed: Seed of the choice of questions, of what is done to them, and of the run.
        settings: Settings that differ from `SETTINGS`.
        train: What was done to the training data.
        validation: What was done to the validation data.
        leak: Share of the validation questions that are also trained on.
        table: Columns of a CSV file that are exchanged.
        model: What was done to the model's folder; it gets the case's validation data, too.
    """

    data: str = "wiki"
    questions: tuple[int, int] = (600, 150)
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    train: Change | None = None
    validation: Change | None = None
    leak: float = 0.0
    table: tuple[str, str] | None = None
    model: Callable[[Path, Path], None] | None = None

    @property
    def is_data_fault(self) -> bool:
        """Whether the fault is in files that `albertqa check` reads."""
        return bool(self.train or self.validation or self.leak or self.table)


# A sound run of some two minutes on one core.
SETTINGS: dict[str, Any] = {
    "model": "starter",
    "learning_rate": 2e-4,
    "warmup_ratio": 0.1,
    "train_batch_size": 4,
    "max_steps": 150,
    "eval_steps": 50.0,
    "eval_batch_size": 16,
    "save_total_limit": 1,
    "max_seq_length": 256,
    "doc_stride": 96,
    "device": "cpu",
    "mixed_precision": "no",
    "num_threads": 1,
    "fit": False,
}
# The starter set's contexts are long: with crops, and in so many steps, a run learns from them.
_STARTER: dict[str, Any] = {
    "max_seq_length": 384, "doc_stride": 128, "augment": ("crop",), "augment_rate": 1.0, "max_steps": 290,
    "eval_steps": 145.0,
}  # fmt: skip
# What shows before the first step is there after a few.
_SHORT: dict[str, Any] = {"max_steps": 4, "eval_steps": 4.0}


def _squad(name: str) -> Examples:
    return load_examples(str(DATA / name))


def _by_title(examples: Examples) -> tuple[Examples, Examples]:
    """Split into two parts that share no article."""
    titles = list(dict.fromkeys(one.title for one in examples))
    mine = set(titles[: 3 * len(titles) // 4])
    return [one for one in examples if one.title in mine], [one for one in examples if one.title not in mine]


def _by_context(examples: Examples) -> tuple[Examples, Examples]:
    contexts = list(dict.fromkeys(one.context for one in examples))
    mine = set(contexts[: 3 * len(contexts) // 4])
    return [one for one in examples if one.context in mine], [one for one in examples if one.context not in mine]


SOURCES: dict[str, Callable[[], tuple[Examples, Examples]]] = {
    "starter": lambda: (load_examples("starter:train"), load_examples("starter:validation")),
    "starter v2.0": lambda: (
        load_examples(str(starter_file("train", version_2=True))),
        load_examples(str(starter_file("dev", version_2=True))),
    ),
    "wiki": lambda: _by_title(_squad("shifts/new_wiki_v1.0.json")),
    "reddit": lambda: _by_context(_squad("shifts/reddit_v1.0.json")),
    "wiki, SQuAD": lambda: (_squad("shifts/new_wiki_v1.0.json"), _squad("squad/dev-v1.1.json")),
    "German": lambda: _by_context(_squad("xquad/xquad.de.json")),
    "reddit, wiki": lambda: (_squad("shifts/reddit_v1.0.json"), _squad("shifts/new_wiki_v1.0.json")),
}
"""Where training and validation questions come from."""


def questions_of(case: Case) -> tuple[Examples, Examples]:
    """Return a case's training and validation questions, faults planted; whole texts, as annotators write."""
    rng = random.Random(case.seed)
    parts = SOURCES[case.data]()
    longest = 10_000 if case.data.startswith("starter") else _LONGEST_CONTEXT
    train, validation = (_some(part, count, longest, rng) for part, count in zip(parts, case.questions, strict=True))
    leaked = [replace(one, id=f"again-{one.id}") for one in validation[: round(case.leak * len(validation))]]
    if case.train is not None:
        train = case.train(train, rng)
    if case.validation is not None:
        validation = case.validation(validation, rng)
    return [*train, *leaked], validation


def _some(examples: Examples, count: int, longest: int, rng: random.Random) -> Examples:
    """Return questions on some of the texts."""
    of_context: defaultdict[str, Examples] = defaultdict(list)
    for one in examples:
        if len(one.context) <= longest:
            of_context[one.context].append(one)
    contexts = list(of_context)
    rng.shuffle(contexts)
    return [one for context in contexts for one in of_context[context]][:count]


def write_data(case: Case, folder: Path) -> tuple[Path, Path]:
    """Write a case's training and validation file."""
    train, validation = questions_of(case)
    paths = []
    for name, part in (("train", train), ("validation", validation)):
        if case.table is not None:
            path = folder / f"{name}.csv"
            _write_table(path, part, case.table)
        else:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(squad_document(part), ensure_ascii=False), encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1]


def _write_table(path: Path, examples: Examples, exchanged: tuple[str, str]) -> None:
    one, other = exchanged
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "question", "context", "answer_text"])
        writer.writeheader()
        for example in examples:
            row = {"id": example.id, "question": example.question, "context": example.context,
                   "answer_text": example.golds[0].text}  # fmt: skip
            writer.writerow({**row, one: row[other], other: row[one]})


# -- what is done to data


def _at(one: Example, start: int, end: int) -> Example:
    start += len(one.context[start:end]) - len(one.context[start:end].lstrip())
    return replace(one, golds=(Gold(one.context[start:end].rstrip(), start),))


def _each(change: Callable[[Example], Example]) -> Change:
    return lambda examples, _: [change(one) for one in examples]


def _swapped(share: float) -> Change:
    """Return a change that gives some questions the answer of another question on the same text."""

    def change(examples: Examples, rng: random.Random) -> Examples:
        of_context: defaultdict[str, Examples] = defaultdict(list)
        for one in examples:
            of_context[one.context].append(one)

        def other(one: Example) -> Example:
            others = [two for two in of_context[one.context] if two.golds[0] != one.golds[0]]
            return replace(one, golds=rng.choice(others).golds) if others and rng.random() < share else one

        return [other(one) for one in examples]

    return change


def _beside(share: float, least: int, most: int) -> Change:
    """Return a change that puts some answers so many words beside their place."""

    def moved(one: Example, rng: random.Random) -> Example:
        gold, words = one.golds[0], [match.span() for match in re.finditer(r"\S+", one.context)]
        first = next(at for at, (_, end) in enumerate(words) if end > gold.answer_start)
        count, by = len(gold.text.split()), rng.choice((-1, 1)) * rng.randint(least, most)
        by = by if first + by >= 0 and first + by + count <= len(words) else -by
        place = min(max(0, first + by), len(words) - count)
        return _at(one, words[place][0], words[place + count - 1][1])

    return lambda examples, rng: [moved(one, rng) if rng.random() < share else one for one in examples]


def _asking(pattern: str) -> Change:
    """Return a change that keeps questions of one kind."""
    return lambda examples, _: [one for one in examples if re.match(pattern, one.question, re.IGNORECASE)]


def _first_sentence(one: Example) -> Example:
    return _at(one, 0, one.context.find(". ") + 1 or len(one.context))


def _whole_sentence(one: Example) -> Example:
    gold = one.golds[0]
    start = one.context.rfind(". ", 0, gold.answer_start) + 2 if ". " in one.context[: gold.answer_start] else 0
    end = one.context.find(". ", gold.answer_end)
    return _at(one, start, len(one.context) if end < 0 else end + 1)


def _one_too_high(one: Example) -> Example:
    gold = one.golds[0]
    start = min(gold.answer_start + 1, len(one.context) - len(gold.text))
    text = one.context[start : start + len(gold.text)]
    # A blank for an answer would be refused.
    return replace(one, golds=(Gold(text, start),)) if text.strip() else one


def _unanswerable(share: float) -> Change:
    return lambda examples, rng: [replace(one, golds=()) if rng.random() < share else one for one in examples]


def _copies(times: int) -> Change:
    return lambda examples, _: [replace(one, id=f"{one.id}-{copy}") for copy in range(times) for one in examples]


def _without_blanks(one: Example) -> Example:
    gold = one.golds[0]
    start = len(one.context[: gold.answer_start].replace(" ", ""))
    return replace(one, context=one.context.replace(" ", ""), golds=(Gold(gold.text.replace(" ", ""), start),))


def _german(examples: Examples, _: random.Random) -> Examples:
    return [one for one in _squad("xquad/xquad.de.json") if len(one.context) <= _LONGEST_CONTEXT][: len(examples)]


# -- what is done to models; each is given a copy of the starter encoder, and the case's validation file


def _weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file({name: one.contiguous() for name, one in weights.items()}, path, metadata={"format": "pt"})


def _random_layers(folder: Path, _: Path) -> None:
    """Draw the weights of the last three layers, as loading does that does not find them."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        for name, one in weights.items():
            layer = re.search(r"albert_layer_groups\.(\d+)\.", name)
            if layer and int(layer[1]) >= 3:
                if "LayerNorm" in name or "layer_norm" in name:
                    one.fill_(1.0 if name.endswith("weight") else 0.0)
                elif one.dim() == 2:
                    one.normal_(0, 0.02)
                else:
                    one.zero_()

    _weights(folder, change)


def _nan(folder: Path, _: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        next(one for name, one in weights.items() if name.endswith("query.weight"))[:2] = float("nan")

    _weights(folder, change)


def _to_bf16(folder: Path, _: Path) -> None:
    _weights(folder, lambda weights: weights.update({name: one.bfloat16() for name, one in weights.items()}))


def _tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _keeps_case(folder: Path, _: Path) -> None:
    _tokenizer(folder, lambda content: content["normalizer"].update(lowercase=False))


def _reordered(folder: Path, _: Path) -> None:
    """Sort the vocabulary, as a tool does that reads it into a set."""

    def change(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        ids = sorted(at for piece, at in vocabulary.items() if piece[0] != "[")
        words = sorted(piece for piece in vocabulary if piece[0] != "[")
        vocabulary.update(zip(words, ids, strict=True))

    _tokenizer(folder, change)


def _trained_on(folder: Path, validation: Path, *, is_known: bool) -> None:
    """Train the model on the validation file first, with this tool or, as far as it can tell, with another."""
    from albertqa.config import Settings
    from albertqa.run.recipe import train

    run = folder.with_name("before")
    before = {**SETTINGS, "max_steps": None, "epochs": 5.0 if not is_known else 0.2, "eval_steps": 1000.0}
    train(Settings(**before, train_file=(str(validation),), validation_file=(str(validation),), output_dir=run,
                   max_eval_examples=4))  # fmt: skip
    shutil.rmtree(folder)
    shutil.copytree(run / "final", folder)
    if not is_known:
        (folder / TRAINED_ON_JSON).unlink()


def _further(folder: Path, _: Path) -> None:
    """Take a reader that was trained on other questions."""
    from albertqa.config import Settings
    from albertqa.run.recipe import train

    run = folder.with_name("before")
    other = Case("wiki", (500, 20), seed=77)
    data = folder.with_name("before-data")
    data.mkdir()
    path, validation = write_data(other, data)
    train(Settings(**{**SETTINGS, "max_steps": 100, "eval_steps": 1000.0}, train_file=(str(path),),
                   validation_file=(str(validation),), output_dir=run))  # fmt: skip
    shutil.rmtree(folder)
    shutil.copytree(run / "final", folder)


def copy_of_starter(folder: Path) -> Path:
    """Copy the starter encoder into a folder."""
    return Path(shutil.copytree(starter_encoder(), folder))


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
        expected: Name of the finding that must come first; or, of what is refused, words of the one line.
        case: The run.
        is_followed: Whether the remedy is followed to its end.
    """

    expected: str
    case: Case
    is_followed: bool = False


FAULTS: dict[str, Fault] = {
    # Data.
    "40 % of the answers are other questions'": Fault(
        "unrelated-answers", Case("reddit", (700, 150), 11, train=_swapped(0.4)), is_followed=True
    ),
    "answers shuffled within texts": Fault(
        "unrelated-answers", Case("starter", (240, 80), 12, _SHORT, train=_swapped(1.0))
    ),
    "a third of the labels 4 to 9 words beside": Fault(
        "misaligned-answers", Case("reddit", (600, 240), 13, {"max_steps": 180, "eval_steps": 60.0},
                             train=_beside(1 / 3, 4, 9))
    ),
    "trained on how-many and when questions only": Fault(
        "question-mismatch", Case("wiki", (4000, 150), 14, {"max_steps": 50}, train=_asking("how many|when"))
    ),
    "CSV columns swapped": Fault(
        "fit the other way round", Case("wiki", (300, 60), 15, _SHORT, table=("question", "context"))
    ),
    "first sentences for answers": Fault(
        "answers-in-one-place", Case("reddit", (400, 80), 16, _SHORT, train=_each(_first_sentence))
    ),
    "validation in German": Fault("language-mismatch", Case("wiki", (300, 100), 17, _SHORT, validation=_german)),
    "90 % unanswerable": Fault("missing-answers", Case("wiki", (500, 100), 18, _SHORT, train=_unanswerable(0.9))),
    "labels one character off": Fault(
        "misaligned-answers",
        Case("reddit", (600, 100), 19, {"eval_steps": 150.0}, train=_each(_one_too_high)),
    ),
    "a tenth of the validation data leaked": Fault(
        "data-leakage", Case("wiki", (600, 150), 20, {"max_steps": 50}, leak=0.1)
    ),
    "40 questions, 20 copies each": Fault(
        "repeated-questions", Case("starter", (40, 100), 21, _SHORT, train=_copies(20))
    ),
    "30 questions, 26 epochs": Fault(
        "few-questions", Case("wiki", (30, 80), 22, {"max_steps": 195, "eval_steps": 195.0}), is_followed=True
    ),
    "training texts without blanks": Fault(
        "missing-whitespace", Case("reddit", (300, 80), 23, _SHORT, train=_each(_without_blanks))
    ),
    "whole sentences for answers": Fault(
        "answer-length-mismatch", Case("starter", (300, 100), 24, _SHORT, train=_each(_whole_sentence))
    ),
    # Models.
    "checkpoint that was trained on the validation data": Fault(
        "data-leakage",
        Case("wiki", (300, 80), 25, _SHORT, model=lambda folder, data: _trained_on(folder, data, is_known=True)),
    ),
    "the same, trained by another tool": Fault(
        "known-answers",
        Case("wiki", (400, 120), 26, {"max_steps": 100},
             model=lambda folder, data: _trained_on(folder, data, is_known=False)),
    ),
    "3 of 6 layers random": Fault("random-layers", Case("wiki", (600, 120), 27, model=_random_layers)),
    "NaN weights": Fault("NaN or infinite", Case("wiki", (100, 40), 28, _SHORT, model=_nan)),
    "tokenizer that keeps upper case": Fault(
        "case-mismatch", Case("reddit", (600, 100), 29, {"eval_steps": 150.0}, model=_keeps_case), is_followed=True
    ),
    "vocabulary in another order": Fault(
        "vocabulary-mismatch", Case("starter", (200, 60), 30, _SHORT, model=_reordered)
    ),
    "an English encoder trained on German": Fault(
        "foreign-vocabulary", Case("German", (500, 100), 37, {"max_steps": 100})
    ),
    # Settings.
    "R-Drop weight 100": Fault(
        "large-r-drop",
        Case(
            "wiki",
            (600, 120),
            31,
            {"r_drop_alpha": 100.0, "hidden_dropout": 0.1, "max_steps": 25, "eval_steps": 25.0},
        ),
    ),
    "label smoothing 0.9": Fault(
        "strong-label-smoothing", Case("reddit", (600, 150), 32, {"label_smoothing_factor": 0.9, "max_steps": 50})
    ),
    "learning rate 100 times too high": Fault(
        "high-learning-rate",
        Case("reddit", (800, 100), 33, {"learning_rate": 2e-2, "max_steps": 190, "eval_steps": 190.0}),
        is_followed=True,
    ),
    "learning rate 100 times too low": Fault(
        "low-learning-rate", Case("starter", (400, 80), 34, {"learning_rate": 2e-6, "max_steps": 80})
    ),
    "warm-up longer than the run": Fault(
        "long-warm-up", Case("reddit", (300, 80), 35, {"warmup_steps": 1000, "max_steps": 40, "eval_steps": 40.0})
    ),
    "windows of 64 tokens": Fault(
        "short-windows",
        Case("reddit", (600, 100), 36, {"max_seq_length": 64, "doc_stride": 16, "eval_steps": 150.0}),
        is_followed=True,
    ),
}  # fmt: skip

SOUND: dict[str, Case] = {
    "starter set, batch 4": Case("starter", (1200, 100), 51, _STARTER),
    "batch 16": Case("wiki", (1000, 120), 52, {"train_batch_size": 16, "max_steps": 60, "eval_steps": 30.0}),
    "starter set v2.0": Case("starter v2.0", (1200, 100), 53, _STARTER),
    "small rate, long enough": Case(
        "wiki", (800, 100), 54, {"learning_rate": 1e-4, "max_steps": 190, "eval_steps": 95.0}
    ),
    "Wikipedia": Case("wiki", (700, 200), 55),
    "Reddit": Case("reddit", (700, 200), 56),
    "Wikipedia, validated on SQuAD": Case("wiki, SQuAD", (600, 160), 57),
    "Reddit, validated on Wikipedia": Case("reddit, wiki", (900, 120), 58, {"max_steps": 200, "eval_steps": 100.0}),
    "bf16 checkpoint": Case("wiki", (600, 120), 59, model=_to_bf16),
    "tiny validation data": Case("reddit", (600, 24), 60, {"eval_steps": 25.0}),
    "label smoothing, dropout, constant rate": Case(
        "reddit", (600, 120), 61,
        {"label_smoothing_factor": 0.1, "hidden_dropout": 0.1, "lr_scheduler_type": "constant", "learning_rate": 2e-4,
         "max_steps": 140, "eval_steps": 70.0}
    ),
    "a reader, trained further": Case(
        "reddit", (500, 120), 62, {"learning_rate": 1e-4, "max_steps": 100, "eval_steps": 50.0}, model=_further
    ),
}  # fmt: skip
