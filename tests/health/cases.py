"""Runs of seconds: a task on real sentences that a tiny ALBERT learns from scratch, and its settings."""

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albertqa.config import Settings
from albertqa.data.example import Example, Gold
from albertqa.data.read import load_examples
from albertqa.health.finding import Finding

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
            examples.append(Example(f"{part}-{len(examples)}", question, context, (Gold(number, context.index(number)),)))
    return examples[:count]


def write_rows(path: Path, examples: Sequence[Example]) -> Path:
    """Write examples as JSON lines."""
    rows = [
        {
            "id": one.id,
            "question": one.question,
            "context": one.context,
            "answers": {"text": [gold.text for gold in one.golds], "answer_start": [gold.answer_start for gold in one.golds]},
        }
        for one in examples
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


Change = Callable[[list[Example]], list[Example]]


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


def names(findings: Sequence[Finding]) -> list[str]:
    """Give the names, in order."""
    return [finding.name for finding in findings]
