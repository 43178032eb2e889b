"""``albertqa score``: the official metric on a predictions file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from albertqa.cli.output import print_json, warn
from albertqa.config import Switch, flag
from albertqa.data.raw_rows import ReadOptions
from albertqa.errors import DataError
from albertqa.files import plural


@dataclass(frozen=True)
class Score:
    """Score a predictions file with the official metric; no model is needed."""

    predictions: Positional[Annotated[Path, flag(metavar="PREDICTIONS")]]
    """JSON object of question id to answer text."""
    data: Positional[Annotated[str, flag(metavar="FILE")]]
    """Data file or Hub name with golds."""
    null_odds: Annotated[Path | None, flag("na-prob-file", metavar="FILE")] = None
    """v2.0: JSON object of question id to null score minus best score; adds best_exact and best_f1."""
    version_2_with_negative: Annotated[bool | None, flag()] = None
    """Score by the rules of v2.0; unset: as the data says."""
    json: Switch = False
    """Print the scores as JSON."""
    table: ReadOptions = field(default_factory=ReadOptions)
    """How to read a table of your own. Example: --question-column frage --answer-column antwort --delimiter tab"""

    def run(self) -> int:
        """Score, and print."""
        from albertqa.cli.terminal import Terminal
        from albertqa.data.reading import load_examples
        from albertqa.scoring.metric import unspaced_note
        from albertqa.scoring.official import score
        from albertqa.scoring.predictions import compare_ids, read_null_odds, read_predictions

        examples = load_examples(self.data, options=self.table)
        predictions = read_predictions(self.predictions)
        odds = read_null_odds(self.null_odds) if self.null_odds is not None else None
        missing, unknown = compare_ids(examples, predictions)
        if not predictions:
            raise DataError(f"{self.predictions}: has no predictions, expected an object of question id to answer text")
        if len(unknown) == len(predictions):
            raise DataError(
                f"{self.predictions}: none of its {plural(len(predictions), 'id')} is in {self.data}: "
                f"{_some(unknown)}. Are the two files of the same data?"
            )
        for what, ids in (("has no prediction for", missing), ("names unknown", unknown)):
            if ids:
                warn(f"{self.predictions} {what} {plural(len(ids), 'id')}: {_some(ids)}")
        scores = score(examples, predictions, null_odds=odds, version_2=self.version_2_with_negative)
        if note := unspaced_note(gold.text for example in examples for gold in example.golds):
            warn(note)
        if self.json:
            print_json(scores)
        else:
            Terminal().table(f"{self.predictions} on {self.data}", scores)
        return 0


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
