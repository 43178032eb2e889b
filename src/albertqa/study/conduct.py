"""Conduct a study: begin or resume it, do its trials, train the best once more, and write what was found."""

import subprocess
import sys
from collections.abc import Callable, Sequence

from filelock import FileLock

from albertqa.data.formats.squad_json import write_squad_json
from albertqa.data.reading import load_examples, load_several
from albertqa.data.splits import split_by_context
from albertqa.errors import RunError
from albertqa.files import write_json
from albertqa.schema import read_object
from albertqa.scoring.evaluation import evaluate
from albertqa.study.result import FreshResult, SettingResult, Spread, StudyResult, collect, run_scores
from albertqa.study.spec import StudySpec
from albertqa.study.trials import Trials, run_name, train_or_resume

SPEC_JSON = "spec.json"
_SELECTION, _HELDOUT = "selection.json", "heldout.json"


def conduct(
    spec: StudySpec, *, say: Callable[[str], None], workers: int = 1, worker_command: Sequence[str] = ()
) -> StudyResult | None:
    """Conduct a study from where it is.

    Args:
        spec: The study.
        say: Takes a line for the user.
        workers: Processes that do its trials, this one included.
        worker_command: Words after ``python -m albertqa`` that start a further worker (see `work`).

    Returns:
        What it found; None where a signal came in between, or other workers are at its last trials.

    Raises:
        AlbertQAError: The folder holds something else, or data or settings are wrong.
    """
    _begin(spec)
    trials = Trials(spec, say)
    others = [subprocess.Popen([sys.executable, "-m", "albertqa", *worker_command]) for _ in range(workers - 1)]
    is_done = False
    try:
        is_done = trials.work()
    finally:
        for other in others:
            if not is_done:
                other.terminate()
            other.wait()
    if not is_done or any(one.state in {"RUNNING", "WAITING"} for one in trials.records()):
        return None
    return _finish(spec, trials, say)


def work(spec: StudySpec, say: Callable[[str], None]) -> None:
    """Do a study's trials as a further worker."""
    _begin(spec)
    Trials(spec, say).work()


def _finish(spec: StudySpec, trials: Trials, say: Callable[[str], None]) -> StudyResult | None:
    """Train the best setting once more and write what was found."""
    selection, heldout = (load_examples(str(spec.folder / "data" / name)) for name in (_SELECTION, _HELDOUT))
    with FileLock(spec.folder / ".finish.lock"):
        result = collect(spec, trials.records(), selection, len(heldout), None)
        if spec.fresh_seeds and result.best is not None:
            fresh = _train_best(spec, result.best, say)
            if fresh is None:
                return None
            result = collect(spec, trials.records(), selection, len(heldout), fresh)
        result.write(spec.folder)
    return result


def _train_best(spec: StudySpec, best: SettingResult, say: Callable[[str], None]) -> FreshResult | None:
    """Train the best setting with fresh seeds and evaluate it on the held-out part; None: a signal came in between."""
    heldout = str(spec.folder / "data" / _HELDOUT)
    selection, exact, f1 = list[float](), list[float](), list[float]()
    for seed in spec.fresh_seeds:
        name = run_name(best.number, seed)
        settings = spec.run_settings(best.values, seed, name)
        written = settings.output_dir / "heldout.json"
        if not written.is_file():
            if train_or_resume(settings, say).status == "interrupted":
                return None
            evaluation = evaluate(
                settings.output_dir,
                [heldout],
                batch_size=settings.eval_batch_size,
                device=settings.device,
                mixed_precision=settings.mixed_precision,
                num_threads=settings.num_threads,
            )
            write_json(written, evaluation.summary())
        scores = read_object(written)
        selection.append(run_scores(settings.output_dir)[spec.metric])
        exact.append(float(scores["exact"]))
        f1.append(float(scores["f1"]))
        say(f"{name}: {spec.metric} {scores[spec.metric]:.2f} on the held-out part")
    return FreshResult(spec.fresh_seeds, Spread.of(selection), Spread.of(exact), Spread.of(f1))


def _begin(spec: StudySpec) -> None:
    """Claim the study's folder and split the validation data, unless that is done."""
    folder = spec.folder
    if folder.is_file():
        raise RunError(f"{folder}: is a file, expected a folder for the study. Choose another output")
    names = {one.name for one in folder.glob("*")}
    if SPEC_JSON not in names and (others := names - {".begin.lock", "data"}):
        raise RunError(f"{folder}: holds something else ({min(others)}). Choose another output")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".begin.lock"):
        if (folder / SPEC_JSON).is_file():
            begun, now = read_object(folder / SPEC_JSON), spec.to_json()
            for name, value in now.items():
                if begun.get(name) != value:
                    raise RunError(
                        f"{folder}: was begun with another {name}. Give the study another output, or the file as it was"
                    )
            return
        settings = spec.settings
        examples = load_several(settings.validation_file, limit=settings.max_eval_examples)
        selection, heldout = split_by_context(examples, spec.heldout, seed=0)
        (folder / "data").mkdir(exist_ok=True)
        for name, part in ((_SELECTION, selection), (_HELDOUT, heldout)):
            write_squad_json(folder / "data" / name, part)
        write_json(folder / SPEC_JSON, spec.to_json())
