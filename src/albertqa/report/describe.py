"""All that is written about one run, from one analysis: its page, and the cards of its models."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from albertqa.report.analysis import analyse
from albertqa.report.card import models_of, write_cards
from albertqa.report.page import page_target, write_page
from albertqa.report.run import load_runs


@dataclass(frozen=True)
class Description:
    """What was written about a run.

    Attributes:
        page: The page.
        model_cards: A README.md for each model of the run, best first; none where it has no model yet.
    """

    page: Path
    model_cards: tuple[Path, ...]


def describe_run(run: str | PathLike[str], output: str | PathLike[str] | None = None) -> Description:
    """Write a run's page and the cards of its models.

    Args:
        run: Run directory.
        output: The page's file; None: ``report.html`` in the run.

    Returns:
        What was written.

    Raises:
        AlbertQAError: The directory is no run or is damaged, or a file cannot be written.
    """
    loaded = load_runs([Path(run)])
    target = page_target(loaded, output)
    analyses = analyse(loaded)
    cards = write_cards(analyses[0]) if models_of(loaded[0].path) else []
    return Description(write_page(analyses, target), tuple(cards))
