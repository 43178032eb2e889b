"""The published result, shown beside a run only if the validation data is exactly the SQuAD v1.1 dev set."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from albertqa.data.example import Example
from albertqa.rundir.directory import Run


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """The figures of a public model card, percent; its "eval_samples" are windows."""

    name: str
    exact: float
    f1: float
    questions: int
    windows: int
    base: str
    data: str


CARD = PublishedCard(
    "Palak/albert-base-v2_squad", 82.69631031220435, 90.10806626207174, 10_570, 10_808, "albert-base-v2", "SQuAD v1.1"
)

# SHA-256 of the 10,570 question ids of dev-v1.1.json, sorted, one a line. Ids rather than the whole content: copies
# of the set differ in the offsets of their golds, which no score depends on.
_DEV_IDS_SHA256 = "3fdb9bf5e1a187ca5f02c2bcbb252ae1198cc49832c888d608623b5c24bc24c1"


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the hash of question ids, in any order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode("utf-8", "surrogatepass")).hexdigest()


def published_card(run: Run, examples: Sequence[Example]) -> PublishedCard | None:
    """Return the published card if a run was evaluated on the same questions.

    Args:
        run: The run.
        examples: Its validation data; empty where it cannot be read, then the ids of its predictions count.

    Returns:
        The card, or None unless the questions are exactly those 10,570.
    """
    ids = [example.id for example in examples] or list(run.predictions)
    questions = run.facts.data.validation.questions
    if run.facts.version_2 or len(ids) != CARD.questions or questions != CARD.questions:
        return None
    return CARD if ids_sha256(ids) == _DEV_IDS_SHA256 else None
