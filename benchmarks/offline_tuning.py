"""What helps the starter encoder on the offline result's texts? One change at a time, on a part of them.

    ALBERTQA_DATA=DATA python benchmarks/offline_tuning.py [--variants as-published dropout] [--threads 1]

SQuAD's dev set is not touched. Every sixth title of the Wikipedia questions and every sixth post of the Reddit ones is
the tuning part; of the others, evenly spread paragraphs are trained on. Each variant changes one setting of
offline-result.toml; it is evaluated once, at its end.

A run takes some 13 minutes of one core. What is finished in the work folder is not run again.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from albertqa.config import load_settings
from albertqa.data.reading import load_examples
from albertqa.errors import AlbertQAError, SettingsError
from albertqa.scoring.interval import difference_interval
from albertqa.scoring.official import score_each
from birth import command_line, write_result
from remedies import REFUSED, finished_run

FILES = ("shifts/new_wiki_v1.0.json", "shifts/reddit_v1.0.json")
HELD_OUT = 6
PLAIN = "as published"
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "dropout": {"hidden_dropout": 0.1},
    "crop": {"augment": ("crop",), "augment_rate": 1.0},
    "half the rate": {"learning_rate": 7.5e-5},
    "twice the rate": {"learning_rate": 3e-4},
    "longer warm-up": {"warmup_ratio": 0.2},
    "one epoch": {"epochs": 1.0},
    "three epochs": {"epochs": 3.0},
    "crop, three epochs": {"augment": ("crop",), "augment_rate": 1.0, "epochs": 3.0},
    "another seed": {"seed": 1},
}
_FIGURES = ("exact", "f1", "loss", "last_train_loss", "steps", "train_seconds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Carve the parts out, run what is not there yet and write the result.

    Returns:
        Exit code: `REFUSED` where a run cannot be done or does not belong to the others.
    """
    parser = command_line(__doc__)
    names = [name.replace(", ", "-").replace(" ", "-") for name in VARIANTS]
    parser.add_argument("--variants", choices=names, nargs="+", default=names, help="only these (all)")
    parser.add_argument("--questions", type=int, default=1600, metavar="N", help="trained on, about (1600)")
    parser.add_argument("--tuning-questions", type=int, default=800, metavar="N", help="evaluated, about (800)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (PyTorch's choice)")
    parser.add_argument("--max-steps", type=int, metavar="N", help="steps in all, for a trial")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/offline-tuning"), metavar="FOLDER", help="(runs/offline-tuning)"
    )
    options = parser.parse_args(arguments)
    spelled = dict(zip(names, VARIANTS, strict=True))
    try:
        train_part, tuning_part = carve(options.work, options.questions, options.tuning_questions)
        plain = replace(
            load_settings(Path(__file__).with_name("offline-result.toml")),
            train_file=(str(train_part),),
            validation_file=(str(tuning_part),),
            max_steps=options.max_steps,
            eval_steps=1e9,
            save_steps=1e9,
            num_threads=options.threads,
        )
        rows = {}
        for name in options.variants:
            changes = VARIANTS[spelled[name]]
            row = finished_run(replace(plain, **changes, output_dir=options.work / name))
            rows[spelled[name]] = {**row, "changes": changes}
            print(f"{spelled[name]}: exact {row['exact']:.1f}, f1 {row['f1']:.1f}, loss {row['loss']:.3f}", flush=True)
    except AlbertQAError as error:
        print(f"offline_tuning.py: {error}", file=sys.stderr)
        return REFUSED
    examples = load_examples(tuning_part)
    f1 = {
        name: {one: 100 * scores.f1 for one, scores in score_each(examples, row["predictions"]).items()}
        for name, row in rows.items()
    }
    result = {
        "n": 1,
        "questions": {"train": len(load_examples(train_part)), "tuning": len(examples)},
        "trained_on": next(iter(rows.values()))["trained_on"],
        "variants": {
            name: {
                "changes": row["changes"],
                **{figure: row[figure] for figure in _FIGURES},
                **_against(f1, name),
            }
            for name, row in rows.items()
        },
    }
    write_result("offline-tuning", result, options.output)
    return 0


def carve(work: Path, num_train: int, num_tuning: int) -> tuple[Path, Path]:
    """Write the part that is trained on and the part that is evaluated; no title is in both.

    Args:
        work: Where to.
        num_train: Questions to train on, about.
        num_tuning: Questions to evaluate, about.

    Returns:
        The two files, in the form of SQuAD v1.1.

    Raises:
        SettingsError: ``ALBERTQA_DATA`` names no folder that has the texts.
    """
    data = Path(os.environ.get("ALBERTQA_DATA", ""))
    if missing := [file for file in FILES if not (data / file).is_file()]:
        raise SettingsError(f"{data / missing[0]}: not found. ALBERTQA_DATA=FOLDER names the folder that has shifts/")
    parts: tuple[list[Any], list[Any]] = ([], [])
    for file in FILES:
        read = json.loads((data / file).read_text(encoding="utf-8"))["data"]
        for at, (title, paragraphs) in enumerate(_titles(read)):
            parts[at % HELD_OUT == 0].extend((title, paragraph) for paragraph in paragraphs)
    work.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, part, wanted in zip(("train", "tuning"), parts, (num_train, num_tuning), strict=True):
        every = max(1, sum(len(paragraph["qas"]) for _, paragraph in part) // wanted)
        articles = [{"title": title, "paragraphs": [paragraph]} for title, paragraph in part[::every]]
        path = work / f"{name}.json"
        path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
        paths.append(path)
    return paths[0], paths[1]


def _titles(articles: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Give titles with their paragraphs; where all has one title, every paragraph is a post of its own."""
    for article in articles:
        if len(articles) > 1:
            yield article["title"], article["paragraphs"]
        else:
            for at, paragraph in enumerate(article["paragraphs"]):
                yield f"{article['title']} {at}", [paragraph]


def _against(f1: dict[str, dict[str, float]], name: str) -> dict[str, Any]:
    """Give the difference of f1 from the published settings, with the interval from resampling the questions."""
    if name == PLAIN or PLAIN not in f1:
        return {}
    interval = difference_interval(f1[PLAIN], f1[name])
    difference = sum(f1[name].values()) / len(f1[name]) - sum(f1[PLAIN].values()) / len(f1[PLAIN])
    return {"f1_difference": round(difference, 3), "f1_interval": [round(interval.low, 3), round(interval.high, 3)]}


if __name__ == "__main__":
    sys.exit(main())
