"""Does a reader find the right document of several, and the answer in a collection?

    python -m benchmarks.collection RUN [--parts five recall open speed]

five    the right one of five paragraphs of the same article (drawn), by the softmax, by the raw score, and as
        `Answerer.answer_documents` ranks them; SQuAD's dev paragraphs
recall  how often the paragraph that a question was asked on is among the first 1, 5, 20 that the search finds, over all
        questions and all 2,067 paragraphs of SQuAD's dev set
open    exact and F1 of `Answerer.answer_collection` on a sample of the questions, against the given paragraph
speed   100,000 passages (the dev paragraphs, their words mixed): seconds to index, MiB, milliseconds a search

It needs ``ALBERTQA_DATA``.
"""

import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albertqa.answer.answerer import Answerer
from albertqa.answer.collection import Collection, index_folder
from albertqa.answer.ranking import rank_answers, word_scores
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.scoring.calibration import wilson
from albertqa.scoring.interval import mean_interval
from albertqa.scoring.official import score_each
from benchmarks.data import ROOT
from benchmarks.provenance import command_line, spread, write_result

_FIVE = 5
_RANKS = (1, 5, 20)
_PASSAGES = 100_000
_SEARCHES = 1_000


class Bench:
    """What the parts share.

    Args:
        model: The reader.
        data: Questions with their paragraphs.
        number: Questions of the parts that read.
        precision: Type of the matrix products.
    """

    def __init__(self, model: str, data: Path, number: int, precision: str) -> None:
        self.examples = load_examples(data)
        self.answerer = Answerer(model, mixed_precision=precision)  # type: ignore[arg-type]
        self.sample = random.Random(3).sample(self.examples, min(number, len(self.examples)))
        self.contexts = list(dict.fromkeys(one.context for one in self.examples))

    def five(self, folder: Path) -> dict[str, Any]:
        """Let the reader choose among five paragraphs of an article."""
        del folder
        of_article: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for one in self.examples:
            of_article[one.title].setdefault(one.context)
        draw, asked = random.Random(4), []
        for one in self.sample:
            others = [context for context in of_article[one.title] if context != one.context]
            if len(others) >= _FIVE - 1:
                documents = [one.context, *draw.sample(others, _FIVE - 1)]
                draw.shuffle(documents)
                asked.append((one, documents))
        pairs = [(one.question, text) for one, texts in asked for text in texts]
        answers = self.answerer.answer_batch(pairs, version_2_with_negative=False)
        right: defaultdict[str, list[float]] = defaultdict(list)
        exact: defaultdict[str, list[float]] = defaultdict(list)
        for index, (one, documents) in enumerate(asked):
            of_question = answers[index * _FIVE : (index + 1) * _FIVE]
            ranked = rank_answers(one.question, documents, of_question, [(str(at), 0) for at in range(_FIVE)], 1)
            words = word_scores(one.question, documents)
            chosen = {
                "softmax": _best([answer.softmax for answer in of_question]),
                "raw_score": _best([answer.score for answer in of_question]),
                "words_alone": _best(words),
                "ranked": int(ranked.answer.document or 0),
                "given": documents.index(one.context),
            }
            for name, at in chosen.items():
                right[name].append(float(documents[at] == one.context))
                exact[name].append(float(score_each([one], {one.id: of_question[at].text})[one.id].exact))
        del right["given"]
        return {
            "n": len(asked),
            **{f"right_of_five_by_{name}": _share(values) for name, values in right.items()},
            **{f"exact_by_{name}": round(100 * statistics.fmean(values), 2) for name, values in exact.items()},
        }

    def recall(self, folder: Path) -> dict[str, Any]:
        """Search for every question."""
        with self._collection(folder) as collection:
            found, seconds = [], []
            for one in self.examples:
                begun = time.perf_counter()
                passages = collection.search(one.question, limit=_RANKS[-1])
                seconds.append((time.perf_counter() - begun) * 1000)
                place = self._place(one)
                found.append(next((at for at, passage in enumerate(passages) if passage.document == place), _RANKS[-1]))
        return {
            "n": len(found),
            "paragraphs": len(self.contexts),
            **{f"recall_at_{most}": _share([float(at < most) for at in found]) for most in _RANKS},
            "search_ms": spread(seconds),
        }

    def open(self, folder: Path) -> dict[str, Any]:
        """Answer from all paragraphs, and from the given one."""
        scores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        places, seconds = [], []
        with self._collection(folder) as collection:
            for one in self.sample:
                begun = time.perf_counter()
                found = self.answerer.answer_collection(one.question, collection, version_2_with_negative=False).answer
                seconds.append((time.perf_counter() - begun) * 1000)
                given = self.answerer.answer(one.question, one.context, version_2_with_negative=False)
                places.append(float(found.document == self._place(one)))
                for name, text in (("open", found.text), ("given", given.text)):
                    score = score_each([one], {one.id: text})[one.id]
                    scores[name].append((100 * float(score.exact), 100 * float(score.f1)))
        figures = {
            f"{name}_{metric}": _interval([one[at] for one in values])
            for name, values in scores.items()
            for at, metric in enumerate(("exact", "f1"))
        }
        return {"n": len(self.sample), **figures, "right_paragraph": _share(places), "answer_ms": spread(seconds)}

    def speed(self, folder: Path) -> dict[str, Any]:
        """Index 100,000 passages, and search them."""
        draw = random.Random(5)
        words = [context.split() for context in self.contexts]
        source, output = folder / "many", folder / "many.sqlite"
        source.mkdir()
        written = 0
        for number in range(_PASSAGES // 1000):
            passages = []
            for _ in range(1000):
                # Half of one paragraph and half of another: words as common as in real text, and no two passages alike.
                one, other = draw.choice(words), draw.choice(words)
                passages.append(" ".join([*one[: len(one) // 2], *other[len(other) // 2 :], str(written)]))
                written += 1
            (source / f"{number:03}.txt").write_text("\n\n".join(passages), encoding="utf-8")
        begun = time.perf_counter()
        summary = index_folder(source, output)
        index_seconds = time.perf_counter() - begun
        begun = time.perf_counter()
        index_folder(source, output)
        again = time.perf_counter() - begun
        seconds = []
        with Collection(output) as collection:
            for one in draw.sample(self.examples, _SEARCHES):
                begun = time.perf_counter()
                collection.search(one.question, limit=_RANKS[-1])
                seconds.append((time.perf_counter() - begun) * 1000)
        return {
            "n": _SEARCHES,
            "passages": summary.num_passages,
            "index_seconds": round(index_seconds, 1),
            "index_again_seconds": round(again, 3),
            "mib": round(output.stat().st_size / 2**20, 1),
            "search_ms": {**spread(seconds), "p95": round(statistics.quantiles(seconds, n=20)[-1], 2)},
        }

    def _place(self, example: Example) -> str:
        return f"{self.contexts.index(example.context):05}.txt"

    def _collection(self, folder: Path) -> Collection:
        """Return the collection of all paragraphs, each a document."""
        source, output = folder / "paragraphs", folder / "paragraphs.sqlite"
        if not output.exists():
            source.mkdir()
            for at, context in enumerate(self.contexts):
                (source / f"{at:05}.txt").write_text(context, encoding="utf-8")
            index_folder(source, output)
        return Collection(output)


def _share(values: Sequence[float]) -> dict[str, Any]:
    share = statistics.fmean(values)
    return {"share": round(share, 4), "interval": [round(one, 4) for one in wilson(share, len(values))]}


def _interval(values: Sequence[float]) -> dict[str, float]:
    found = mean_interval(values)
    return {"mean": round(found.mean, 2), "low": round(found.low, 2), "high": round(found.high, 2)}


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda at: values[at])


PARTS: dict[str, Callable[[Bench, Path], dict[str, Any]]] = {
    name: getattr(Bench, name) for name in ("five", "recall", "open", "speed")
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("model", help="run directory or model folder of a trained reader")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these parts")
    parser.add_argument("--questions", type=int, default=1000, metavar="N", help="questions of five and open (1000)")
    parser.add_argument("--mixed-precision", default="auto", help="auto, no or bf16 (auto)")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("ALBERTQA_DATA", ROOT.parent / "shared" / "data")) / "squad" / "dev-v1.1.json"
    if not data.is_file():
        raise SystemExit(f"{data}: no such file. Set ALBERTQA_DATA to the folder of the real data")
    bench = Bench(options.model, data, options.questions, options.mixed_precision)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for part in options.parts:
            found[part] = PARTS[part](bench, Path(folder))
            print({part: found[part]}, flush=True)
    result = {"model": options.model, "data": "SQuAD dev v1.1", "n": max(one["n"] for one in found.values()), **found}
    write_result("collection", result, options.output)


if __name__ == "__main__":
    main()
