"""``albertqa evaluate``: scores and predictions of a trained model."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional

from albertqa.cli.output import finite, print_json, warn
from albertqa.cli.reader_flags import EvaluationDevice, ReaderFlags
from albertqa.config import Switch, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError, SettingsError

if TYPE_CHECKING:
    from albertqa.decode.confidence import Confidence
    from albertqa.scoring.evaluation import FileScore


@dataclass(frozen=True)
class Evaluate:
    """Report loss, exact and f1 of a trained model, and write its predictions."""

    model: Positional[Annotated[str, flag(metavar="MODEL")]]
    """Run directory (its best/), model folder, or Hub name."""
    data: Positional[Annotated[tuple[str, ...], flag(metavar="FILE ...")]]
    """Data files or Hub names with golds; several are evaluated as one, and each by itself."""
    output_dir: Annotated[Path | None, flag(metavar="DIR")] = None
    """Folder for predictions.json, nbest_predictions.json, null_odds.json and eval.json; unset: beside the model."""
    max_eval_examples: Annotated[int | None, flag("max-eval-samples")] = None
    """Evaluate only the first so many questions."""
    tune_threshold: Switch = False
    """v2.0: also find the best threshold on this data, to be given with --null-score-diff-threshold on other data."""
    calibrate: Switch = False
    """Also fit the model's probabilities to this data, which must not be what it was trained on, and save that in the
    model's folder (`reader.json`)."""
    json: Switch = False
    """Print the result as JSON."""
    reader: ReaderFlags = field(default_factory=ReaderFlags)
    """How the model reads; what is not given is as the model was trained. Example: --max-answer-length 15"""
    device: EvaluationDevice = field(default_factory=EvaluationDevice)
    """Where and in which precision it computes. Example: --device cpu --num-threads 4"""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Evaluate, write and print."""
        from albertqa import files
        from albertqa.cli.terminal import Terminal
        from albertqa.cli.train_command import without_counters
        from albertqa.scoring.evaluation import evaluate, null_odds, write_predictions
        from albertqa.scoring.metric import unspaced_note
        from albertqa.scoring.threshold import tune_threshold

        if not self.data:
            raise DataError("evaluate: expected at least one data file, found none")
        reader = dict(vars(self.reader))
        evaluation = evaluate(
            self.model,
            self.data,
            version_2=reader.pop("version_2_with_negative"),
            limit=self.max_eval_examples,
            options=self.table,
            calibrate=self.calibrate,
            batch_size=self.device.eval_batch_size,
            **self.device.options(),
            **reader,
        )
        data = ", ".join(self.data)
        summary: dict[str, Any] = evaluation.summary()
        if self.tune_threshold:
            odds = null_odds(evaluation.predictions)
            if not odds:
                raise SettingsError(
                    f"--tune-threshold: {data} has no question without an answer; there is nothing to tune"
                )
            texts = {one.id: one.best_answer.text if one.best_answer else "" for one in evaluation.predictions}
            tuned = tune_threshold(evaluation.examples, texts, odds)
            summary |= {f"tuned_{name}": value for name, value in dataclasses.asdict(tuned).items()}
        if self.calibrate:
            tested = self._save_confidence(evaluation.confidence)
            summary |= {f"calibration_{name}": value for name, value in tested.items()}
        if evaluation.files:
            summary["files"] = [dataclasses.asdict(one) for one in evaluation.files]
        folder = self.output_dir or self._folder_beside_model()
        folder.mkdir(parents=True, exist_ok=True)
        write_predictions(folder, evaluation.predictions)
        files.write_json(folder / files.EVAL_JSON, finite(summary))
        if note := unspaced_note(gold.text for example in evaluation.examples for gold in example.golds):
            warn(note)
        if self.json:
            print_json(summary)
        else:
            terminal = Terminal()
            shown = {name: value for name, value in summary.items() if name != "files"}
            terminal.table(f"{self.model} on {data}", without_counters(shown))
            if evaluation.files:
                rows = {f"{one.file} ({one.questions:,})": _scores_of(one) for one in evaluation.files}
                terminal.table("exact and f1, with their 95 % intervals", rows)
            terminal.say(f"predictions and scores: {folder}")
        return 0

    def _save_confidence(self, confidence: "Confidence | None") -> dict[str, float]:
        """Save fitted probabilities in the model's folder; return the figures of the half that was not fitted on."""
        from albertqa.decode.reader_settings import ReaderSettings
        from albertqa.files import model_folder

        folder = Path(model_folder(self.model))
        if not folder.is_dir():
            raise SettingsError(f"--calibrate: writes into the model's folder, and {self.model} is a name on the Hub")
        if confidence is None:
            raise SettingsError(
                f"--calibrate: {', '.join(self.data)} makes the probabilities no better. Use more questions, with "
                "right and wrong answers among them"
            )
        dataclasses.replace(ReaderSettings.load(folder), confidence=confidence).save(folder)
        return confidence.tested

    def _folder_beside_model(self) -> Path:
        beside = Path(self.model) if Path(self.model).is_dir() else Path()
        names = (Path(one).name.split(".json")[0].replace(":", "-") for one in self.data)
        return beside / f"evaluation-{'-'.join(names)}"


def _scores_of(file: "FileScore") -> str:
    return "   ".join(f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})" for one in (file.exact, file.f1))
