"""How far can a reader's probabilities be believed, before and after calibration?

    python -m benchmarks.calibration RUN [--questions 1000]

RUN is a run directory whose best/ is calibrated (training does that; `albertqa evaluate RUN DATA --calibrate`). Every
set is answered once; the softmax and the calibrated probability of the same answers are judged by how often they are
right (exact match; on v2.0 data "no answer" where there is none is right). Sets: the starter set's dev part, of which
only the contexts that the calibration was not fitted on count; SQuADShifts' new Wikipedia articles and Reddit posts,
and SQuAD's dev set, if ``ALBERTQA_DATA`` has them; and each of these with its questions asked on a context of another
article, where every answer is wrong.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from albertqa.answer.answerer import Answerer
from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.scoring.calibration import auroc, expected_error, first_half, log_loss, reliability, risk_coverage, wilson
from albertqa.scoring.official import score_each
from benchmarks.data import ROOT
from benchmarks.provenance import command_line, write_result

_SETS = {"new Wikipedia articles": "shifts/new_wiki_v1.0.json", "Reddit": "shifts/reddit_v1.0.json",
         "SQuAD dev v1.1": "squad/dev-v1.1.json"}  # fmt: skip
_REDDIT = "Filtered_Reddit_Comments"
_COVERAGES = (1.0, 0.8, 0.5, 0.25)
_SURE = 0.8


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer every set, judge the probabilities, and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("model", help="run directory or model folder of a calibrated reader")
    parser.add_argument("--questions", type=int, default=1000, metavar="N", help="questions of a set (1000)")
    parser.add_argument("--starter", default="starter:validation", help="the set of which half was fitted on")
    parser.add_argument("--mixed-precision", default="auto", help="auto, no or bf16 (auto)")
    options = parser.parse_args(arguments)
    answerer = Answerer(options.model, mixed_precision=options.mixed_precision)
    if not answerer.is_calibrated:
        raise SystemExit(f"{options.model}: not calibrated. Run: albertqa evaluate {options.model} DATA --calibrate")
    found: dict[str, Any] = {}
    for name, examples in _sets(options.starter, options.questions).items():
        for title, asked in ((name, examples), (f"{name}, foreign context", _on_foreign_contexts(examples))):
            found[title] = _judge(answerer, asked)
            print(title, found[title], flush=True)
    confidence = answerer.settings.confidence
    assert confidence is not None
    write_result(
        "calibration",
        {
            "model": options.model,
            "n": sum(one["questions"] for one in found.values()),
            "knows_no_answer": bool(answerer.settings.version_2_with_negative),
            "weights": {"answer": confidence.answer.weights, "intercept": confidence.answer.intercept},
            "fitted_questions": confidence.questions,
            "sets": found,
        },
        options.output,
    )


def _sets(starter: str, most: int) -> dict[str, list[Example]]:
    """Return the sets by name, each of at most so many questions, drawn from all of it."""
    dev = load_examples(starter)
    fitted_on = first_half([one.context for one in dev])
    found = {"starter dev, tested half": [one for one, is_fit in zip(dev, fitted_on, strict=True) if not is_fit]}
    data = Path(os.environ.get("ALBERTQA_DATA", ROOT.parent / "shared" / "data"))
    for name, file in _SETS.items():
        if (data / file).is_file():
            examples = load_examples(data / file)
            drawn = sorted(random.Random(0).sample(range(len(examples)), min(most, len(examples))))
            found[name] = [examples[at] for at in drawn]
    return found


def _on_foreign_contexts(examples: Sequence[Example]) -> list[Example]:
    """Ask every question on a context of another article that does not have the answer's words."""
    draw = random.Random(1)
    found = []
    for one in examples:
        others = [other for other in draw.choices(examples, k=20) if _is_foreign(other, one)]
        if others:
            found.append(replace(one, context=others[0].context, golds=()))
    return found


def _is_foreign(other: Example, one: Example) -> bool:
    # All of Reddit's posts have one title.
    is_elsewhere = other.title != one.title or (other.title == _REDDIT and other.context != one.context)
    return is_elsewhere and not any(gold.text.lower() in other.context.lower() for gold in one.golds)


def _judge(answerer: Answerer, examples: Sequence[Example]) -> dict[str, Any]:
    answers = answerer.answer_batch([(one.question, one.context) for one in examples])
    texts = {example.id: one.text for example, one in zip(examples, answers, strict=True)}
    scores = score_each(examples, texts, version_2=True)
    right = np.asarray([float(scores[one.id].exact) for one in examples])
    f1 = np.asarray([float(scores[one.id].f1) for one in examples])
    judged = {
        name: _figures(np.asarray([getattr(one, field) for one in answers]), right, f1)
        for name, field in (("softmax", "softmax"), ("calibrated", "probability"))
    }
    return {"questions": len(examples), "right": round(float(right.mean()), 4), **judged}


def _figures(probability: NDArray[np.float64], right: NDArray[np.float64], f1: NDArray[np.float64]) -> dict[str, Any]:
    points, area = risk_coverage(probability, right, f1)
    sure = probability >= _SURE
    share = float(right[sure].mean()) if sure.any() else None
    above = auroc(probability, right)
    return {
        "mean": round(float(probability.mean()), 4),
        "ece": round(expected_error(reliability(probability, right)), 4),
        "log_loss": round(log_loss(probability, right), 4),
        "auroc": None if above is None else round(above, 4),
        "risk_area": round(area, 4),
        "exact_at_coverage": {
            str(share): round(next(one.exact for one in points if one.share >= share - 1e-9), 2) for share in _COVERAGES
        },
        f"at_least_{_SURE}": {
            "share": round(float(sure.mean()), 4),
            "right": None if share is None else round(share, 4),
            "interval": None if share is None else [round(one, 4) for one in wilson(share, int(sure.sum()))],
        },
    }


if __name__ == "__main__":
    main()
