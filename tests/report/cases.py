"""Run directories made up for tests: real data, made-up answers and n-best, in the files that training writes."""

import json
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa.config import Settings, to_toml
from albertqa.data.example import Example, Gold, content_sha256
from albertqa.scoring.official import score
from albertqa.windows.build import build_windows
from albertqa.windows.tokenizer import load_tokenizer

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<!-- <img src=x onerror='window.hacked = 3'> -->",
    "'\"><svg onload=window.hacked=4>",
    "{{ 7 * 7 }} {% for x in y %}",
    "\u202eright to left\u202c مرحبا بالعالم",
    "emoji 👩‍👩‍👧 and 🇳🇴",
    "line\u2028separator and a NUL-like \u0001 control",
)


def paragraph(index: int, num_sentences: int = 4) -> tuple[str, list[tuple[str, str, int]]]:
    """Make a context with one question a sentence: question, answer, and where it starts."""
    context, asked = "", []
    for at in range(num_sentences):
        name, year = f"Person {index}-{at}", str(1800 + 7 * index + at)
        sentence = f"In {year} the bridge of {name} was opened to traffic. "
        where, what = f"When was the bridge of {name} opened?", f"Who gave a name to bridge {at} of {index}?"
        asked.append((where, year, len(context) + 3))
        asked.append((what, name, len(context) + sentence.index(name)))
        context += sentence
    return context.strip(), asked


def examples_of(num_contexts: int, *, version_2: bool = False) -> list[Example]:
    """Make questions; on v2.0 every third has no answer."""
    found = []
    for index in range(num_contexts):
        context, asked = paragraph(index)
        for at, (question, answer, start) in enumerate(asked):
            golds = () if version_2 and at % 3 == 2 else (Gold(answer, start), Gold(answer, start))
            found.append(Example(f"q{index}-{at}", question, context, golds, f"Bridges {index}"))
    return found


def write_squad(path: Path, examples: Sequence[Example], *, version_2: bool = False) -> Path:
    """Write examples as SQuAD JSON."""
    paragraphs: dict[str, list[Example]] = {}
    for example in examples:
        paragraphs.setdefault(example.context, []).append(example)
    articles = []
    for context, members in paragraphs.items():
        qas = [
            {
                "id": one.id,
                "question": one.question,
                "answers": [{"text": gold.text, "answer_start": gold.answer_start} for gold in one.golds],
                **({"is_impossible": not one.golds} if version_2 else {}),
            }
            for one in members
        ]
        articles.append({"title": members[0].title, "paragraphs": [{"context": context, "qas": qas}]})
    path.write_text(json.dumps({"version": "v2.0" if version_2 else "1.1", "data": articles}), encoding="utf-8")
    return path


def candidates(example: Example, answers: Sequence[str], logits: Sequence[float]) -> list[dict[str, Any]]:
    """Make n-best rows: answers are looked up in the context; "" is "no answer"."""
    weights = [math.exp(value - max(logits)) for value in logits]
    rows = []
    for text, logit, weight in zip(answers, logits, weights, strict=True):
        start = example.context.index(text) if text else 0
        rows.append(
            {
                "text": text,
                "start_char": start,
                "end_char": start + len(text),
                "probability": weight / sum(weights),
                "start_logit": logit / 2,
                "end_logit": logit / 2,
            }
        )
    return rows


def made_up_n_best(example: Example, answer: str, generator: random.Random, size: int) -> list[dict[str, Any]]:
    """Make a plausible n-best around an answer: other spans of the context with falling scores."""
    words = example.context.split(" ")
    texts, logits = [answer], [generator.uniform(4, 12)]
    while len(texts) < size:
        first = generator.randrange(len(words))
        text = " ".join(words[first : first + generator.randint(1, 4)])
        texts.append(text)
        logits.append(logits[-1] - generator.expovariate(1))
    return candidates(example, texts, logits)


def write_run(
    folder: Path,
    data: Path,
    examples: Sequence[Example],
    answers: Mapping[str, str],
    n_best: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    null_odds: Mapping[str, float] | None = None,
    settings: Settings | None = None,
    num_steps: int = 60,
    tokenizer_folder: Path | None = None,
    findings: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write a finished run directory without a training.

    Args:
        folder: The run directory; made here.
        data: File of the validation data.
        examples: Its content.
        answers: The run's answers.
        n_best: The run's candidates.
        null_odds: v2.0: null odds.
        settings: The run's settings; output_dir and validation_file are set here.
        num_steps: Steps of the record, evaluated every third of them.
        tokenizer_folder: A model folder to copy as ``best/`` and ``final/``; None: the run keeps no model.
        findings: Content of ``health.json``; empty: no such file.
    """
    folder.mkdir(parents=True)
    version_2 = null_odds is not None
    used = replace(settings or Settings(), output_dir=folder, validation_file=(str(data),))
    scores = score(list(examples), dict(answers), null_odds=null_odds, version_2=version_2)
    num_windows = len(examples)
    if tokenizer_folder is not None:
        for name in ("best", "final"):
            shutil.copytree(tokenizer_folder, folder / name)
        num_windows = len(build_windows(examples, load_tokenizer(folder / "best")))
    loss = 1.5
    _write(
        folder / "eval.json",
        {**scores, "loss": loss, "questions": len(examples), "windows": num_windows, "step": num_steps},
    )
    _write(folder / "predictions.json", dict(answers))
    _write(folder / "nbest_predictions.json", dict(n_best))
    if null_odds is not None:
        _write(folder / "null_odds.json", dict(null_odds))
    if findings:
        _write(folder / "health.json", {"findings": list(findings)})
    (folder / "config.toml").write_text(to_toml(used), encoding="utf-8")
    _write(folder / "run.json", _facts(used, examples, num_windows, num_steps, version_2=version_2))
    rows = _record(num_steps, float(scores["exact"]), float(scores["f1"]), loss)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _record(num_steps: int, exact: float, f1: float, loss: float) -> list[dict[str, Any]]:
    generator = random.Random(7)
    rows: list[dict[str, Any]] = []
    every = max(1, num_steps // 3)
    for step in range(1, num_steps + 1):
        share = step / num_steps
        rows.append(
            {
                "step": step,
                "epoch": round(3 * share, 6),
                "train_loss": 0.5 + 5 * math.exp(-4 * share) + generator.gauss(0, 0.15),
                "learning_rate": 3e-5 * (1 - share),
                "grad_norm": None if step == 2 else 2 + 30 * math.exp(-6 * share) + generator.random(),
                "tokens": 3000,
                "tokens_per_second": 1000 + 50 * generator.random(),
                "seconds": 3.0 * step,
            }
        )
        if step % every == 0:
            part = 0.6 + 0.4 * share
            rows.append(
                {
                    "step": step,
                    "epoch": round(3 * share, 6),
                    "validation_loss": loss / part,
                    "exact": exact * part,
                    "f1": f1 * part,
                    "eval_seconds": 2.5,
                    "is_best": True,
                }
            )
    return rows


def _facts(
    settings: Settings, examples: Sequence[Example], num_windows: int, num_steps: int, *, version_2: bool
) -> dict[str, Any]:
    part = {
        "questions": len(examples),
        "without_answer": sum(not one.has_answer for one in examples),
        "content_sha256": content_sha256(examples),
        "windows": num_windows,
        "windows_without_answer": 0,
        "tokens": 60 * len(examples),
    }
    every = max(1, num_steps // 3)
    return {
        "status": "finished",
        "started": ["2026-11-01T10:00:00+00:00"],
        "updated": "2026-11-01T10:05:00+00:00",
        "step": num_steps,
        "best_step": num_steps,
        "train_seconds": 3.0 * num_steps,
        "command": ["albertqa", "train", "--output-dir", str(settings.output_dir)],
        "seed": settings.seed,
        "plan": {
            "steps_per_epoch": every,
            "total_steps": num_steps,
            "warmup_steps": 0,
            "eval_every_steps": every,
            "save_every_steps": every,
        },
        "version_2": version_2,
        "data": {
            "train": {**part, "sources": list(settings.train_file)},
            "validation": {**part, "sources": list(settings.validation_file)},
        },
        "model": {
            "source": settings.model,
            "type": "albert",
            "parameters": 11_094_530,
            "trainable_parameters": 11_094_530,
            "tokenizer_sha256": "0" * 64,
        },
        "machine": {
            "device": "cpu",
            "device_name": "Test Processor",
            "precision": "float32",
            "threads": 2,
            "platform": "Linux-6",
        },
        "versions": {"python": "3.11.7", "albertqa": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
