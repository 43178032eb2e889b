"""Runs of seconds: a task on real sentences that a tiny ALBERT learns from scratch, and its settings."""

import dataclasses
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from albertqa.config import Settings
from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.health.record import RunRecord
from albertqa.rundir.directory import Run
from albertqa.rundir.findings import Finding
from albertqa.rundir.rows import EvaluationRow, Row, StepRow
from albertqa.rundir.run_json import RunJson

_WORDS, _NUMBERS = 24, 2


def numbers_task(part: str, count: int, *, seed: int = 0) -> list[Example]:
    """Ask for numbers that stand in brackets in real text: "Which number follows <three words>?"

    A context is 24 words of a paragraph of the starter set with two numbers in it. A model of a few thousand weights
    learns in seconds that answers are numbers, which takes its loss far below a blind guess's; the questions say which.

    Args:
        part: ``train`` or ``validation`` of the starter set; they share no text.
        count: Questions.
        seed: Seed of places and numbers.
    """
    rng = random.Random(f"{seed} {part}")
    texts = list(dict.fromkeys(example.context for example in load_examples(f"starter:{part}")))
    examples: list[Example] = []
    while len(examples) < count:
        words = rng.choice(texts).split()
        first = rng.randrange(max(1, len(words) - _WORDS))
        words = words[first : first + _WORDS]
        places = rng.sample(range(4, len(words) - 1, 8), _NUMBERS)
        for place in places:
            words[place] = f"({rng.randrange(1000, 10_000)})"
        context = " ".join(words)
        for place in places:
            number = words[place][1:-1]
            question = f"Which number follows {' '.join(words[place - 3 : place])}?"
            examples.append(
                Example(f"{part}-{len(examples)}", question, context, (Gold(number, context.index(number)),))
            )
    return examples[:count]


def write_rows(path: Path, examples: Sequence[Example]) -> Path:
    """Write examples as JSON lines."""
    rows = [
        {
            "id": one.id,
            "question": one.question,
            "context": one.context,
            "answers": {
                "text": [gold.text for gold in one.golds],
                "answer_start": [gold.answer_start for gold in one.golds],
            },
        }
        for one in examples
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def shuffle_answers(examples: Sequence[Example], *, seed: int = 0) -> list[Example]:
    """Give every question the answers of some question on the same context."""
    rng = random.Random(seed)
    of_context: dict[str, list[tuple[Gold, ...]]] = {}
    for one in examples:
        of_context.setdefault(one.context, []).append(one.golds)
    for golds in of_context.values():
        rng.shuffle(golds)
    return [dataclasses.replace(one, golds=of_context[one.context].pop()) for one in examples]


@dataclasses.dataclass(frozen=True)
class Task:
    """Files and settings of a run."""

    train: Path
    validation: Path
    model: Path

    def settings(self, output_dir: Path, **changes: Any) -> Settings:
        """Settings under which the tiny ALBERT learns the task in some ten seconds."""
        sound = Settings(
            model=str(self.model),
            train_file=(str(self.train),),
            validation_file=(str(self.validation),),
            output_dir=output_dir,
            from_scratch=True,
            max_seq_length=128,
            doc_stride=32,
            learning_rate=2e-3,
            warmup_ratio=0.1,
            train_batch_size=8,
            epochs=2.0,
            eval_steps=0.5,
            max_answer_length=12,
            device="cpu",
            mixed_precision="no",
            num_threads=1,
            fit=False,
        )
        return dataclasses.replace(sound, **changes)


# Mean training loss of the epochs, validation loss after them (docs of the published model), and f1 as it rises.
PUBLISHED = ((0.86, 0.90, 88.7), (0.65, 0.90, 89.9), (0.48, 0.99, 90.1))


def published_run(*, noise: float, seed: int) -> RunRecord:
    """The published recipe's own curve, step by step, with the noise of batches of 16 windows."""
    rng = random.Random(seed)
    per_epoch = 5540
    steps: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    for epoch, (mean, validation_loss, f1) in enumerate(PUBLISHED):
        # The first epoch falls from a blind guess to its plateau within some hundred steps; its mean is the published.
        early = [4.1 * math.exp(-at / 150) if epoch == 0 else 0.0 for at in range(per_epoch)]
        plateau = mean - sum(early) / per_epoch
        for at in range(per_epoch):
            step = epoch * per_epoch + at + 1
            loss = max(0.02, plateau + early[at] + noise * (plateau + early[at]) * rng.gauss(0, 1))
            rate = 3e-5 * (1 - (step - 1) / (3 * per_epoch))
            steps.append({"step": step, "epoch": step / per_epoch, "train_loss": loss, "learning_rate": rate,
                          "grad_norm": rng.lognormvariate(2.5, 0.5), "tokens": 2700, "tokens_per_second": 9000.0,
                          "data_seconds": 0.001, "micro_batch": 16})  # fmt: skip
        evaluations.append({"step": (epoch + 1) * per_epoch, "epoch": epoch + 1.0, "validation_loss": validation_loss,
                            "exact": f1 - 7.4, "f1": f1, "is_best": True})  # fmt: skip
    data = {"without_answer": 0, "content_sha256": "1", "tokens": 15_000_000, "windows": 88_640,
            "windows_without_answer": 1_300, "questions": 87_599}  # fmt: skip
    validation = {**data, "questions": 10_570, "windows": 10_808, "windows_without_answer": 170, "tokens": 1_900_000,
                  "content_sha256": "2"}  # fmt: skip
    facts = {
        "status": "finished",
        "plan": {"steps_per_epoch": per_epoch, "total_steps": 3 * per_epoch, "warmup_steps": 0},
        "data": {"train": data, "validation": validation},
        "model": {"source": "albert/albert-base-v2", "type": "albert", "hidden_size": 768, "parameters": 11_685_122,
                  "trainable_parameters": 11_685_122},
        "machine": {"device": "cuda", "precision": "bfloat16", "fast_bf16": True},
    }  # fmt: skip
    scores = {"exact": 82.7, "f1": 90.1, "step": 3 * per_epoch}
    run = Run(Path("runs/published"), Settings(), msgspec.convert(facts, RunJson), (), (), scores)
    return RunRecord(run, typed([*steps, *evaluations]))


def typed(rows: Sequence[dict[str, Any] | Row]) -> list[Row]:
    """Return rows that are written as dictionaries in their typed form."""
    return [
        msgspec.convert(row, StepRow if "train_loss" in row else EvaluationRow) if isinstance(row, dict) else row
        for row in rows
    ]


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as dictionaries."""
    return [msgspec.to_builtins(row) for row in rows]


def changed(
    record: RunRecord,
    *,
    settings: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    validation: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    rows: dict[str, Any] | None = None,
    **rest: Any,
) -> RunRecord:
    """Return a record with other settings, facts, numbers in every step's row, or whatever else it has."""
    facts = msgspec.to_builtins(record.run.facts)
    for name, values in (("train", train), ("validation", validation)):
        facts["data"][name] |= values or {}
    facts["model"] |= model or {}
    facts["machine"] |= machine or {}
    steps = rest.pop("steps", record.steps)
    evaluations = rest.pop("evaluations", [*record.evaluations, *record.faulty_evaluations])
    if rows is not None:
        steps = [{**(row if isinstance(row, dict) else msgspec.to_builtins(row)), **rows} for row in steps]
    run = dataclasses.replace(
        record.run,
        settings=dataclasses.replace(record.settings, **(settings or {})),
        **{name: rest.pop(name) for name in ("scores", "is_alive", "path") if name in rest},
    )
    run = dataclasses.replace(run, facts=msgspec.convert({**facts, **rest}, RunJson))
    return RunRecord(run, typed([*steps, *evaluations]))


def names(findings: Sequence[Finding]) -> list[str]:
    """Return the names, in order."""
    return [finding.name for finding in findings]
