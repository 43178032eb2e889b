"""Compare SQuAD JSON files by their question words and answer lengths, as a Markdown table.

    python benchmarks/question_mix.py src/albertqa/data/starter/*.json "$ALBERTQA_DATA/squad/dev-v1.1.json"

The question word is the first one anywhere in the question ("In what year ..." is a *what*); the answer's length is
that of the first gold, in words. Questions without an answer count under their question word only.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from albertqa.report.breakdown import QUESTION_WORDS, question_word

ANSWER_LENGTHS = ("1", "2", "3", "4-5", "6-10", "11+")


@dataclass(frozen=True, slots=True)
class Mix:
    """What one file holds.

    Attributes:
        name: The column's heading.
        num_titles: Articles.
        num_paragraphs: Contexts.
        num_golds: Answers, alternatives included.
        words: Questions by question word.
        lengths: Questions with an answer by the length of the first gold.
    """

    name: str
    num_titles: int
    num_paragraphs: int
    num_golds: int
    num_unanswerable: int
    words: Counter[str]
    lengths: Counter[str]


def answer_length(answer: str) -> str:
    """Give the class of an answer's length in words: one of `ANSWER_LENGTHS`."""
    num_words = len(answer.split())
    if num_words <= 3:
        return str(num_words)
    return "4-5" if num_words <= 5 else "6-10" if num_words <= 10 else "11+"


def mix_of(path: Path) -> Mix:
    """Count what a SQuAD JSON file (v1.1 or v2.0) holds."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    questions = [question for paragraph in paragraphs for question in paragraph["qas"]]
    return Mix(
        name=f"{path.parent.name}/{path.name}",
        num_titles=len(articles),
        num_paragraphs=len(paragraphs),
        num_golds=sum(len(question["answers"]) for question in questions),
        num_unanswerable=sum(not question["answers"] for question in questions),
        words=Counter(question_word(question["question"]) for question in questions),
        lengths=Counter(answer_length(golds[0]["text"]) for question in questions if (golds := question["answers"])),
    )


def table(mixes: Sequence[Mix]) -> str:
    """Lay the files out as columns of a Markdown table, shares in percent."""
    shares = [
        *((word, [_share(mix.words, word) for mix in mixes]) for word in QUESTION_WORDS),
        *((f"words in the answer: {key}", [_share(mix.lengths, key) for mix in mixes]) for key in ANSWER_LENGTHS),
    ]
    rows = [
        ["", *(mix.name for mix in mixes)],
        ["---", *("---:" for _ in mixes)],
        ["titles", *(f"{mix.num_titles:,}" for mix in mixes)],
        ["paragraphs", *(f"{mix.num_paragraphs:,}" for mix in mixes)],
        ["questions", *(f"{mix.words.total():,}" for mix in mixes)],
        ["without an answer", *(f"{mix.num_unanswerable:,}" for mix in mixes)],
        ["golds", *(f"{mix.num_golds:,}" for mix in mixes)],
        *([name, *cells] for name, cells in shares),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _share(counts: Counter[str], key: str) -> str:
    return f"{100 * counts[key] / counts.total():.1f} %" if counts.total() else "-"


def main() -> None:
    """Print the table of the files named on the command line."""
    parser = argparse.ArgumentParser(description="Question words and answer lengths of SQuAD JSON files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="SQuAD JSON, v1.1 or v2.0")
    print(table([mix_of(path) for path in parser.parse_args().files]))


if __name__ == "__main__":
    main()
