"""The command line: parse, call, print; errors to one line and an exit code.

Exit codes: 0 done; 1 `check` found errors in the data, or `doctor` something wrong with the run; 2 a problem the user
can act on; 130 Ctrl-C, 143 SIGTERM.
"""

import dataclasses
import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import tyro

from albertqa.config import DecodeConfig, Precision, Settings, WindowConfig, load_settings
from albertqa.errors import AlbertQAError, DataError, SettingsError


@dataclass(frozen=True)
class Quickstart:
    """Show the whole story on the bundled starter set and encoder, offline, in minutes."""

    output_dir: Path = Path("runs/quickstart")
    """Run directory; an earlier quickstart there is replaced."""
    seed: int = 42
    """Seed of head initialization and data order."""
    epochs: Annotated[float | None, tyro.conf.arg(aliases=["--num-train-epochs"])] = None
    """Passes over the starter set; unset: what fits a few minutes on 2 cores."""
    json: bool = False
    """Print the result as JSON; progress goes to stderr."""


@dataclass(frozen=True)
class Check:
    """Tell what is wrong with data files and what can be repaired; several files are checked against each other."""

    files: tyro.conf.Positional[tuple[str, ...]]
    """Data files or Hub names, the training data first."""
    tokenizer: str | None = None
    """Also measure windows with this tokenizer: a spiece.model, a folder, a Hub name, or `starter`."""
    max_seq_length: int = 384
    """Most tokens of a window."""
    doc_stride: int = 128
    """Overlap of neighbouring windows, in tokens."""
    max_answer_length: int = 30
    """Longest answer predicted, in tokens."""
    write_repaired: Path | None = None
    """Write a repaired copy there (a folder for several files); what is left out is listed in OUT.dropped.json."""
    max_cases: int = 5
    """Cases shown of each problem."""
    json: bool = False
    """Print the report as JSON."""


@dataclass(frozen=True)
class Train:
    """Fine-tune a model; the defaults are the published recipe. Flags win over --config, which wins over defaults."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    config: Path | None = None
    """TOML file of settings (any of the names here, with underscores)."""
    resume: bool = False
    """Go on with the run in --output-dir from its newest checkpoint."""
    json: bool = False
    """Print the result as JSON; progress goes to stderr."""


@dataclass(frozen=True)
class FindLr:
    """Find a learning rate: a short run in which it rises. Settings as for train; --learning-rate plays no part."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    config: Path | None = None
    """TOML file of settings, as for train; its output_dir is not used."""
    min_lr: float = 1e-7
    """Learning rate of the first step."""
    max_lr: float = 1e-1
    """Learning rate of the last step; the test ends before it where the loss diverges."""
    num_steps: int = 100
    """Steps; no more than one epoch has."""
    json: bool = False
    """Print lr_range.json; progress goes to stderr."""


@dataclass(frozen=True)
class Evaluate:
    """Give loss, exact, f1, questions and windows of a trained model, and write its predictions."""

    model: tyro.conf.Positional[str]
    """Run directory (its best/), model folder, or Hub name."""
    data: tyro.conf.Positional[tuple[str, ...]]
    """Data files or Hub names with golds; several are evaluated as one."""
    output_dir: Path | None = None
    """Folder for predictions.json, nbest_predictions.json, null_odds.json, eval.json; unset: beside the model."""
    version_2_with_negative: bool | None = None
    """Whether questions may have no answer; unset: as the data says."""
    max_eval_examples: Annotated[int | None, tyro.conf.arg(aliases=["--max-eval-samples"])] = None
    """Evaluate only the first so many questions."""
    max_seq_length: int | None = None
    """Most tokens of a window."""
    doc_stride: int | None = None
    """Overlap of neighbouring windows, in tokens."""
    max_answer_length: int | None = None
    """Longest answer, in tokens."""
    n_best_size: int | None = None
    """Candidate starts and ends of a window, and answers kept for a question."""
    null_score_diff_threshold: float | None = None
    """v2.0: predict "no answer" where its score beats the best answer's by more than this."""
    tune_threshold: bool = False
    """v2.0: also find the best threshold on this data, to be given with --null-score-diff-threshold on other data."""
    eval_batch_size: Annotated[int, tyro.conf.arg(aliases=["--batch-size"])] = 32
    """Windows of the longest kind in one forward; changes speed and memory, not results."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    mixed_precision: Precision = "auto"
    """Arithmetic of the matrix products; auto: bf16 where it is fast, else fp32 (`no`)."""
    json: bool = False
    """Print the result as JSON; progress goes to stderr."""


@dataclass(frozen=True)
class Score:
    """Score a predictions file with the official metric; no model needed."""

    predictions: tyro.conf.Positional[Path]
    """JSON object: question id to answer text."""
    data: tyro.conf.Positional[str]
    """Data file or Hub name with golds."""
    null_odds: Annotated[Path | None, tyro.conf.arg(aliases=["--na-prob-file"])] = None
    """v2.0: JSON object of question id to null score less best score; adds best_exact and best_f1."""
    version_2_with_negative: bool | None = None
    """Score by the rules of v2.0; unset: as the data says."""
    json: bool = False
    """Print the scores as JSON."""


@dataclass(frozen=True)
class Answer:
    """Answer one question, or a file of them: JSONL rows with `question` and `context`."""

    model: tyro.conf.Positional[str]
    """Run directory (its best/), model folder, or Hub name."""
    question: str | None = None
    """The question."""
    context: str | None = None
    """The text that should hold the answer."""
    context_file: Path | None = None
    """A text file to take the context from."""
    input: Path | None = None
    """JSONL file of questions; `-` for standard input. Answers go to standard output, one JSON object a line."""
    n_best: int = 1
    """Candidates given for a question."""
    max_answer_length: int | None = None
    """Longest answer, in tokens."""
    version_2_with_negative: bool | None = None
    """Let "no answer" be an answer (for models trained on such data)."""
    null_score_diff_threshold: float | None = None
    """Say "no answer" where its score beats the best answer's by more than this."""
    max_seq_length: int | None = None
    """Most tokens of a window."""
    doc_stride: int | None = None
    """Overlap of neighbouring windows, in tokens."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["--eval-batch-size"])] = 32
    """Windows of the longest kind in one forward."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, `mps`; auto: a GPU where there is one."""
    mixed_precision: Precision = "auto"
    """Arithmetic of the matrix products; auto: bf16 where it is fast, else fp32 (`no`)."""
    json: bool = False
    """Print the answer as JSON."""


@dataclass(frozen=True)
class Report:
    """Write one self-contained HTML page about a run, or several runs side by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories; with several, the first is what the others are compared with."""
    output: Path | None = None
    """The file to write; unset: report.html in the run, or here for several runs."""
    push_to_hub: str | None = None
    """Also upload the run's best/ with its model card as this model (OWNER/NAME) on the Hub."""
    private: bool = False
    """Make the model on the Hub private where it is created."""
    json: bool = False
    """Print what was written as JSON."""


@dataclass(frozen=True)
class Doctor:
    """Tell what is wrong with a run and what to do; exit code 0: nothing found, 1: something is wrong."""

    run: tyro.conf.Positional[Path]
    """Run directory; the run may still be going on."""
    write: bool = False
    """Also write what was found to health.json in the run, which the report shows."""
    json: bool = False
    """Print the findings as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line without the program's name; None: the process's own.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help", "help"}:
        print(_overview())
        return 0
    if given[0] in {"-V", "--version"}:
        print(f"albertqa {metadata.version('albertqa')}")
        return 0
    if given[0] not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(given[0], COMMANDS, n=1)
        hint = f", did you mean '{near[0]}'?" if near else f"; there are: {', '.join(COMMANDS)}"
        return _fail(f"no command '{given[0]}'{hint}")
    form, run = COMMANDS[given[0]]
    try:
        if form is Train:
            return run_train(_parse_train(given[1:]))
        if form is FindLr:
            return run_find_lr(_parse_find_lr(given[1:]))
        return run(tyro.cli(form, args=given[1:], prog=f"albertqa {given[0]}"))
    except AlbertQAError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain once more when it closes stdout.
        sys.stdout = None
        return 0
    except OSError as error:
        # A full disk, a folder without permission: the system's own words with the path say it best.
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}")


def _fail(message: str) -> int:
    print(f"albertqa: {message}", file=sys.stderr)
    return 2


def _overview() -> str:
    lines = ["usage: albertqa COMMAND [OPTIONS]", "", *(__import__("albertqa").__doc__ or "").splitlines()[:1], ""]
    for name, (form, _) in COMMANDS.items():
        lines.append(f"  {name:<12}{(form.__doc__ or '').split('.')[0].split(';')[0]}")
    return "\n".join([*lines, "", "albertqa COMMAND --help lists a command's options."])


def _parse_train(arguments: list[str]) -> Train:
    """Parse flags over the file over the defaults; a resumed run's own settings are its defaults."""
    base = _file_settings(arguments)
    if "--resume" in arguments:
        folder = Path(_value_of(arguments, "--output-dir", "--output_dir") or base.output_dir)
        if (folder / "config.toml").is_file():
            base = dataclasses.replace(load_settings(folder / "config.toml"), output_dir=folder)
    return tyro.cli(Train, args=arguments, prog="albertqa train", default=Train(settings=base))


def _parse_find_lr(arguments: list[str]) -> FindLr:
    """Parse flags over the file over the defaults; a run's folder is not the range test's."""
    base = dataclasses.replace(_file_settings(arguments), output_dir=Path("runs/find-lr"))
    return tyro.cli(FindLr, args=arguments, prog="albertqa find-lr", default=FindLr(settings=base))


def _file_settings(arguments: list[str]) -> Settings:
    config = _value_of(arguments, "--config")
    return load_settings(Path(config)) if config is not None else Settings()


def _value_of(arguments: list[str], *flags: str) -> str | None:
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in flags:
            return value if equals else next(iter(arguments[at + 1 :]), None)
    return None


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(title: str, rows: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, _spelled(value))
    console = Console(emoji=False)
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(table)


def _spelled(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def run_quickstart(command: Quickstart) -> int:
    """Run ``albertqa quickstart``."""
    from albertqa.cli.quickstart import quickstart

    return quickstart(command.output_dir, seed=command.seed, epochs=command.epochs, as_json=command.json)


def run_check(command: Check) -> int:
    """Run ``albertqa check``."""
    from rich.console import Console

    from albertqa.data.check import check_files
    from albertqa.data.check_text import render_check

    if not command.files:
        raise DataError("check: expected at least one file, found none")
    WindowConfig(command.max_seq_length, command.doc_stride).check()
    DecodeConfig(max_answer_length=command.max_answer_length).check()
    report = check_files(command.files, write_repaired=command.write_repaired, max_cases=command.max_cases)
    if command.tokenizer is not None:
        for facts in report.files:
            figures, problems = _check_tokenization(command, facts.name)
            facts.extra.update(figures)
            report = report.with_problems(problems, command.max_cases)
    if command.json:
        total = {"windows": sum(facts.extra["windows"] for facts in report.files)} if command.tokenizer else {}
        _print_json({**report.to_json(), **total})
    else:
        render_check(report, Console(emoji=False))
    return 0 if report.ok else 1


def _check_tokenization(command: Check, name: str) -> tuple[dict[str, Any], list[Any]]:
    from albertqa.data.read import read
    from albertqa.model.load import resolve_model
    from albertqa.model.starter import STARTER
    from albertqa.windows.statistics import check_tokenization
    from albertqa.windows.tokenizer import load_tokenizer

    return check_tokenization(
        name,
        read(name).examples,
        load_tokenizer(resolve_model(STARTER) if command.tokenizer == STARTER else str(command.tokenizer)),
        max_seq_length=command.max_seq_length,
        doc_stride=command.doc_stride,
        max_answer_length=command.max_answer_length,
    )


def run_train(command: Train) -> int:
    """Run ``albertqa train``."""
    from rich.console import Console

    from albertqa.report import describe_run
    from albertqa.run.display import TerminalDisplay
    from albertqa.run.recipe import train

    settings = command.settings
    display = TerminalDisplay(Console(stderr=command.json, emoji=False), settings.logging_steps)
    result = train(settings, resume=command.resume, callbacks=[display])
    if command.json:
        _print_json({"run": str(result.run), "status": result.status, "step": result.step,
                     "best_step": result.best_step, **result.scores})  # fmt: skip
    if result.status == "interrupted":
        display.on_message(
            f"interrupted at step {result.step}; saved. Go on: albertqa train --resume --output-dir "
            f"{shlex.quote(str(result.run))}"
        )
        return 128 + (result.signal_number or signal.SIGINT)
    page = describe_run(result.run).page
    if not command.json:
        title = f"{result.run}: {result.status} at step {result.step}, best at step {result.best_step}"
        _print_table(title, _shown_scores(result.scores))
        display.on_message(f"look at it: {page}")
        display.on_message(f"ask it: albertqa answer {shlex.quote(str(result.run))} --question '…' --context '…'")
    return 0


def run_find_lr(command: FindLr) -> int:
    """Run ``albertqa find-lr``."""
    from rich.console import Console

    from albertqa.run.display import TerminalDisplay
    from albertqa.run.range_curve import spell_rate
    from albertqa.run.range_test import RANGE_JSON, RANGE_SVG, find_lr, train_command

    settings, out = command.settings, command.settings.output_dir
    display = TerminalDisplay(Console(stderr=command.json, emoji=False), settings.logging_steps)
    test = find_lr(
        settings, min_lr=command.min_lr, max_lr=command.max_lr, num_steps=command.num_steps, callbacks=[display]
    )
    if command.json:
        _print_json(json.loads((out / RANGE_JSON).read_text(encoding="utf-8")))
        return 0
    shown = range(0, len(test.smoothed), max(1, len(test.smoothed) // 12))
    rows = {spell_rate(test.learning_rates[at]): test.smoothed[at] for at in shown}
    _print_table("learning rate and smoothed loss", rows)
    display.on_message(test.reason)
    train_with = train_command(settings, test.suggestion)
    if train_with is not None:
        display.on_message(f"train with it: {train_with}")
    display.on_message(f"look at it: {out / RANGE_SVG}; the numbers: {out / RANGE_JSON}")
    return 0


def _shown_scores(scores: dict[str, float | int]) -> dict[str, float | int]:
    """Leave out what only machines want."""
    return {name: value for name, value in scores.items() if name not in {"total", "step"}}


def run_evaluate(command: Evaluate) -> int:
    """Run ``albertqa evaluate``."""
    from albertqa import files
    from albertqa.scoring.evaluation import evaluate, null_odds, write_predictions
    from albertqa.scoring.threshold import tune_threshold

    if not command.data:
        raise DataError("evaluate: expected at least one data file, found none")
    data = ", ".join(command.data)
    evaluation = evaluate(
        command.model,
        command.data,
        version_2=command.version_2_with_negative,
        limit=command.max_eval_examples,
        max_seq_length=command.max_seq_length,
        doc_stride=command.doc_stride,
        max_answer_length=command.max_answer_length,
        n_best_size=command.n_best_size,
        null_score_diff_threshold=command.null_score_diff_threshold,
        batch_size=command.eval_batch_size,
        device=command.device,
        mixed_precision=command.mixed_precision,
    )
    summary: dict[str, Any] = evaluation.summary()
    if command.tune_threshold:
        odds = null_odds(evaluation.predictions)
        if not odds:
            raise SettingsError(f"--tune-threshold: {data} has no question without an answer; there is nothing to tune")
        texts = {one.id: one.best_answer.text if one.best_answer else "" for one in evaluation.predictions}
        tuned = tune_threshold(evaluation.examples, texts, odds)
        summary |= {f"tuned_{name}": value for name, value in dataclasses.asdict(tuned).items()}
    beside = Path(command.model) if Path(command.model).is_dir() else Path()
    names = (Path(one).name.split(".json")[0].replace(":", "-") for one in command.data)
    folder = command.output_dir or beside / f"evaluation-{'-'.join(names)}"
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, evaluation.predictions)
    files.write_json(folder / files.EVAL_JSON, summary)
    if command.json:
        _print_json(summary)
    else:
        _print_table(f"{command.model} on {data}", _shown_scores(summary))
        print(f"predictions and scores: {folder}")
    return 0


def run_score(command: Score) -> int:
    """Run ``albertqa score``."""
    from albertqa.data.read import load_examples
    from albertqa.scoring import compare_ids, read_null_odds, read_predictions, score

    examples = load_examples(command.data)
    predictions = read_predictions(command.predictions)
    odds = read_null_odds(command.null_odds) if command.null_odds is not None else None
    difference = compare_ids(examples, predictions)
    for what, ids in (("has no prediction for", difference.missing), ("names unknown", difference.unknown)):
        if ids:
            some = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
            print(f"albertqa: {command.predictions} {what} {len(ids):,} ids: {some}", file=sys.stderr)
    scores = score(examples, predictions, null_odds=odds, version_2=command.version_2_with_negative)
    if command.json:
        _print_json(scores)
    else:
        _print_table(f"{command.predictions} on {command.data}", scores)
    return 0


def run_answer(command: Answer) -> int:
    """Run ``albertqa answer``."""
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.questions import read_pairs

    one = command.question is not None
    if one == (command.input is not None):
        raise SettingsError("answer: give either --question with --context (or --context-file), or --input FILE")
    if one:
        if (command.context is None) == (command.context_file is None):
            raise SettingsError("answer: give the text with --context or --context-file, one of the two")
        context = command.context if command.context is not None else _read_text(command.context_file)
        rows: list[dict[str, Any]] = [{"question": command.question, "context": context}]
    else:
        rows = read_pairs(command.input or Path("-"))
    answerer = Answerer(
        command.model,
        device=command.device,
        mixed_precision=command.mixed_precision,
        max_seq_length=command.max_seq_length,
        doc_stride=command.doc_stride,
        max_answer_length=command.max_answer_length,
        version_2_with_negative=command.version_2_with_negative,
        null_score_diff_threshold=command.null_score_diff_threshold,
    )
    answers = answerer.answer_batch(
        [(row["question"], row["context"]) for row in rows],
        n_best=command.n_best,
        batch_size=command.batch_size,
    )
    if not one:
        for row, answer in zip(rows, answers, strict=True):
            name = {"id": row["id"]} if "id" in row else {}
            print(json.dumps({**name, "question": row["question"], **answer.to_json()}, ensure_ascii=False))
    elif command.json:
        _print_json(answers[0].to_json())
    else:
        for candidate in answers[0].n_best or ():
            place = f"characters {candidate.start_char} to {candidate.end_char}" if candidate.text else "no answer"
            print(f"{candidate.text or '(no answer)'}  {candidate.probability:.1%}  {place}")
        if not answers[0].n_best:
            print("(no answer)")
    return 0


def _read_text(path: Path | None) -> str:
    try:
        return (path or Path()).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8") from error


def run_report(command: Report) -> int:
    """Run ``albertqa report``."""
    from albertqa import files
    from albertqa.report import describe_run, push_to_hub, write_report

    if not command.runs:
        raise SettingsError("report: expected at least one run directory, found none")
    if command.push_to_hub is not None and len(command.runs) > 1:
        raise SettingsError(f"--push-to-hub: uploads one run's model, found {len(command.runs)} runs. Name one")
    written: dict[str, Any]
    if len(command.runs) == 1:
        description = describe_run(command.runs[0], command.output)
        written = {"report": str(description.page)}
        if description.model_cards:
            written["model_cards"] = [str(card) for card in description.model_cards]
    else:
        written = {"report": str(write_report(command.runs, command.output))}
    if command.push_to_hub is not None:
        written["model"] = push_to_hub(command.runs[0] / files.BEST, command.push_to_hub, private=command.private)
    if command.json:
        _print_json(written)
    else:
        for name, value in written.items():
            print(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
    return 0


def run_doctor(command: Doctor) -> int:
    """Run ``albertqa doctor``."""
    from rich.console import Console

    from albertqa.health.diagnosis import diagnose
    from albertqa.health.display import render_diagnosis
    from albertqa.health.record import load_record
    from albertqa.rundir.findings import health_json, write_findings

    record = load_record(command.run)
    findings = diagnose(record)
    if command.write:
        write_findings(command.run, record.status, findings)
    if command.json:
        _print_json(health_json(command.run, record.status, findings))
    else:
        render_diagnosis(record, findings, Console(emoji=False))
    return 1 if findings else 0


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int]]] = {
    "quickstart": (Quickstart, run_quickstart),
    "check": (Check, run_check),
    "find-lr": (FindLr, run_find_lr),
    "train": (Train, run_train),
    "evaluate": (Evaluate, run_evaluate),
    "score": (Score, run_score),
    "answer": (Answer, run_answer),
    "report": (Report, run_report),
    "doctor": (Doctor, run_doctor),
}

if __name__ == "__main__":
    sys.exit(main())
