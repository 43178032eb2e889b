"""The whole story on the bundled starter set and encoder, offline: check → train → evaluate → report → answer."""

import json
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from albertqa import files
from albertqa.answer.answerer import Answerer
from albertqa.config import Settings, to_flags
from albertqa.data.checking import check_files
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.errors import RunError
from albertqa.model.starter import STARTER
from albertqa.report import describe_run
from albertqa.run.display import TerminalDisplay
from albertqa.run.recipe import train

TRAIN, VALIDATION = f"{STARTER}:train", f"{STARTER}:validation"

# A marker: only a folder that a quickstart made may be replaced by the next one.
_MARKER = ".quickstart"


def quickstart_settings(output_dir: Path, *, seed: int = 42, epochs: float | None = None) -> Settings:
    """Give the settings of the story: what brings the starter encoder furthest in four minutes on 2 cores without bf16.

    The recipe's own values are for ALBERT on 88,000 windows and would not leave the ground here. These were chosen on
    nine held-out topics of the train part (docs/experiments.md). Cropped contexts have twice as many questions seen in
    the same time, and the answer is found in a short context long before it is in a long one.

    Args:
        output_dir: Run directory.
        seed: Seed of head initialization, data order and crops.
        epochs: Passes over the starter set; None: what fits.

    Returns:
        The settings.
    """
    return Settings(
        model=STARTER,
        train_file=(TRAIN,),
        validation_file=(VALIDATION,),
        output_dir=output_dir,
        learning_rate=2e-4,
        train_batch_size=4,
        warmup_ratio=0.1,
        epochs=0.85 if epochs is None else epochs,
        augment=("crop",),
        augment_rate=1.0,
        seed=seed,
        save_total_limit=1,
        logging_steps=20,
    )


def quickstart(output_dir: Path, *, seed: int = 42, epochs: float | None = None, as_json: bool = False) -> int:
    """Run the story.

    Args:
        output_dir: Run directory; an earlier quickstart there is replaced.
        seed: Seed of head initialization and data order.
        epochs: Passes over the starter set; None: what fits a few minutes on 2 cores.
        as_json: Print the result as JSON on stdout and the story on stderr.

    Returns:
        Exit code.

    Raises:
        AlbertQAError: Something the user can act on.
    """
    begun = time.perf_counter()
    console = Console(stderr=as_json, emoji=False)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    _claim(output_dir)

    say("1. check: is the data sound?                           albertqa check starter:train starter:validation")
    report = check_files([TRAIN, VALIDATION])
    for facts in report.files:
        say(f"   {facts.name}: {facts.num_questions:,} questions on {facts.num_contexts:,} paragraphs")
    found = sum(group.count for group in report.groups)
    say(f"   {found} problems found" if found else "   nothing wrong")

    settings = quickstart_settings(output_dir, seed=seed, epochs=epochs)
    say(f"2. train: MiniLM's pretrained weights in ALBERT's form, epochs: {settings.epochs:g}")
    say(f"   albertqa train {shlex.join(to_flags(settings))}")
    result = train(settings, callbacks=[TerminalDisplay(console, settings.logging_steps)])
    if result.status == "interrupted":
        say(f"interrupted at step {result.step}. Go on: albertqa train --resume --output-dir {output_dir}")
        return 128 + (result.signal_number or signal.SIGINT)

    say(f"3. evaluate: on questions it has never seen            albertqa evaluate {output_dir} {VALIDATION}")
    scores = result.scores
    say(f"   exact {scores['exact']:.1f}   f1 {scores['f1']:.1f}   loss {scores['loss']:.3f}   "
        f"{scores['questions']:,} questions, {scores['windows']:,} windows")  # fmt: skip

    page = describe_run(output_dir).page
    say(f"4. report: curves, errors, trust, evidence             albertqa report {output_dir}")
    say(f"   {page}")

    say(f"5. ask: three of them                                 albertqa answer {output_dir} --question … --context …")
    asked = _three(load_examples(VALIDATION))
    answers = Answerer(output_dir).answer_batch([(example.question, example.context) for example in asked])
    for example, answer in zip(asked, answers, strict=True):
        say(f"   {example.question}")
        golds = " / ".join(dict.fromkeys(gold.text for gold in example.golds))
        say(f"     → {answer.text}   ({answer.probability:.0%})   expected: {golds}")

    seconds = time.perf_counter() - begun
    say(f"done in {seconds:.0f} s. {output_dir} has everything: {files.METRICS_JSONL} the curves, best/ the model.")
    say("next:")
    say("  albertqa check YOUR.json                                   is your own data sound?")
    say(f"  albertqa train --model {output_dir}/best --train-file YOUR.json --validation-file YOUR-DEV.json "
        "--output-dir runs/mine")  # fmt: skip
    say("  albertqa train                                             the published recipe: albert-base-v2 on SQuAD")
    if as_json:
        answered = [
            {"question": example.question, "answer": answer.text, "golds": [gold.text for gold in example.golds]}
            for example, answer in zip(asked, answers, strict=True)
        ]
        json.dump({"run": str(output_dir), "seed": seed, **scores, "answers": answered, "seconds": seconds}, sys.stdout)
        print()
    return 0


def _claim(output_dir: Path) -> None:
    """Make room for the run, without ever deleting what a quickstart did not make."""
    if output_dir.is_dir() and any(output_dir.iterdir()):
        if not (output_dir / _MARKER).is_file():
            raise RunError(f"{output_dir}: is not empty and not of an earlier quickstart. Choose another --output-dir")
        shutil.rmtree(output_dir)
    if output_dir.is_file():
        raise RunError(f"{output_dir}: is a file, expected a folder for the run. Choose another --output-dir")
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / _MARKER).touch()


def _three(examples: list[Example]) -> list[Example]:
    """Take three questions of different articles, the same in every run: not chosen for being answered well."""
    by_title = list({example.title: example for example in examples}.values())
    return by_title[:3]
