"""Page and model cards of one run, from one analysis."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from albertqa.report.analysis import analyse, load_runs
from albertqa.report.card import write_cards
from albertqa.report.page import page_target, write_page


@dataclass(frozen=True)
class Description:
    """The files that describe a run.

    Attributes:
        page: The report.
        model_cards: A README.md for each model of the run, best first; empty if it has no model yet.
    """

    page: Path
    model_cards: tuple[Path, ...]


def describe_run(run: str | PathLike[str], output: str | PathLike[str] | None = None) -> Description:
    """Write a run's report and the cards of its models.

    Args:
        run: Run directory.
        output: The report's file; None: ``report.html`` in the run.

    Raises:
        AlbertQAError: The directory is not a run or is damaged, or a file cannot be written.
    """
    path = Path(run)
    runs = load_runs([path])
    target = page_target([path], output)
    analyses = analyse(runs)
    cards = write_cards(analyses[0])
    return Description(write_page(analyses, target), tuple(cards))
