"""``albertqa quickstart``: check, train, evaluate, report and answer on the bundled data and encoder, offline."""

import shlex
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from albertqa.cli.output import print_json
from albertqa.config import Settings, Switch, flag, to_flags
from albertqa.errors import RunError
from albertqa.files import METRICS_JSONL, plural

if TYPE_CHECKING:
    from albertqa.data.example import Example

TRAIN, VALIDATION = "starter:train", "starter:validation"

# A marker: only a folder that a quickstart made may be replaced by the next one.
_MARKER = ".quickstart"


@dataclass(frozen=True)
class Quickstart:
    """Check, train, evaluate, report and answer on the bundled data and encoder: offline, in minutes."""

    output_dir: Annotated[Path, flag(metavar="DIR")] = Path("runs/quickstart")
    """Run directory; an earlier quickstart there is replaced."""
    seed: int = 42
    """Seed of head initialization and data order."""
    epochs: Annotated[float | None, flag("num-train-epochs")] = None
    """Passes over the bundled data; unset: what fits a few minutes on 2 cores."""
    num_threads: Annotated[int | None, flag()] = None
    """CPU threads; unset: PyTorch's choice."""
    json: Switch = False
    """Print the result as JSON; progress goes to stderr."""

    def run(self) -> int:
        """Run every step, and print what it does with the command that does it."""
        from albertqa.answer.answerer import Answerer
        from albertqa.cli.terminal import Terminal
        from albertqa.cli.train_command import resume_command, stopped_at_once
        from albertqa.data.checking import check_files
        from albertqa.data.reading import load_examples
        from albertqa.report import describe_run
        from albertqa.run.display import TerminalDisplay
        from albertqa.run.recipe import train

        begun = time.perf_counter()
        terminal = Terminal(stderr=self.json, survives=True)
        say, run = terminal.say, self.output_dir
        settings = quickstart_settings(run, seed=self.seed, epochs=self.epochs)
        settings = replace(settings, num_threads=self.num_threads)
        settings.check()
        _claim(run)

        say(f"1. check: is the data sound?\n   albertqa check {TRAIN} {VALIDATION}")
        report = check_files([TRAIN, VALIDATION])
        for facts in report.files:
            say(f"   {facts.name}: {facts.num_questions:,} questions on {facts.num_contexts:,} paragraphs")
        found = sum(group.count for group in report.groups)
        say(f"   {plural(found, 'problem')} found" if found else "   nothing wrong")

        say(f"2. train: MiniLM's pretrained weights in ALBERT's form, epochs: {settings.epochs:g}")
        say(f"   albertqa train {shlex.join(to_flags(settings))}")
        try:
            result = train(settings, callbacks=[TerminalDisplay(terminal, settings.logging_steps)])
        except KeyboardInterrupt:
            say(stopped_at_once(run))
            return 128 + signal.SIGINT
        if result.status == "interrupted":
            say(f"interrupted at step {result.step:,}; saved. Resume: {resume_command(run)}")
            return 128 + (result.signal_number or signal.SIGINT)

        say(f"3. evaluate: on questions it has never seen\n   albertqa evaluate {run} {VALIDATION}")
        scores = result.scores
        say(
            f"   exact {scores['exact']:.1f}   f1 {scores['f1']:.1f}   loss {scores['loss']:.3f}   "
            f"{scores['questions']:,} questions, {scores['windows']:,} windows"
        )

        page = describe_run(run).page
        say(f"4. report: curves, errors, calibration, provenance\n   albertqa report {run}\n   {page}")

        say(f"5. answer: three of the questions\n   albertqa answer {run} --question '…' --context '…'")
        asked = _three(load_examples(VALIDATION))
        answers = Answerer(run).answer_batch([(example.question, example.context) for example in asked])
        for example, answer in zip(asked, answers, strict=True):
            say(f"   {example.question}")
            golds = " / ".join(dict.fromkeys(gold.text for gold in example.golds))
            say(f"     → {answer.text}   ({answer.probability:.0%})   expected: {golds}")

        seconds = time.perf_counter() - begun
        say(f"done in {seconds:.0f} s. {run} has everything: {METRICS_JSONL} the curves, best/ the model.")
        say("next:")
        say("  is your own data sound?\n    albertqa check YOUR.json")
        say(
            f"  train on it, from this encoder\n    albertqa train --model {run}/best --train-file YOUR.json "
            "--output-dir runs/mine"
        )
        say("  the published recipe: albert-base-v2 on SQuAD\n    albertqa train")
        if self.json:
            answered = [
                {"question": example.question, "answer": answer.text, "golds": [gold.text for gold in example.golds]}
                for example, answer in zip(asked, answers, strict=True)
            ]
            print_json({"run": str(run), "seed": self.seed, **scores, "answers": answered, "seconds": seconds})
        return 0


def quickstart_settings(output_dir: Path, *, seed: int = 42, epochs: float | None = None) -> Settings:
    """Return the settings that bring the starter encoder furthest in four minutes on 2 cores without bf16.

    The recipe's own values are for ALBERT on 88,000 windows and learn nothing here in that time. These were chosen on
    nine held-out topics of the training part (docs/experiments.md). Cropped contexts are short: twice as many questions
    fit into the same time, and a model finds answers in short contexts first.

    Args:
        output_dir: Run directory.
        seed: Seed of head initialization, data order and crops.
        epochs: Passes over the starter set; None: what fits.
    """
    return Settings(
        model="starter",
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


def _claim(output_dir: Path) -> None:
    """Empty the folder, but for what a quickstart did not make: that is refused."""
    if output_dir.is_dir() and any(output_dir.iterdir()):
        if not (output_dir / _MARKER).is_file():
            raise RunError(f"{output_dir}: is not empty, and not from a quickstart. Choose another --output-dir")
        shutil.rmtree(output_dir)
    if output_dir.is_file():
        raise RunError(f"{output_dir}: is a file, expected a folder for the run. Choose another --output-dir")
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / _MARKER).touch()


def _three(examples: list["Example"]) -> list["Example"]:
    """Return three questions of different articles, the same in every run and not chosen for being answered well."""
    by_title = list({example.title: example for example in examples}.values())
    return by_title[:3]
