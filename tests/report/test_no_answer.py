"""v2.0: every point of the threshold charts against scoring the predictions at that threshold."""

import math
import shutil
from pathlib import Path

import pytest

from albertqa.report.analysis import analyse, load_runs
from albertqa.report.probabilities import judge_no_answer
from albertqa.rundir.directory import load_run
from albertqa.scoring.official import score
from scoring.cases import apply_threshold


def test_every_point_of_the_sweep_is_what_its_threshold_gives(run_v2: Path) -> None:
    (analysis,) = analyse(load_runs([run_v2]))
    judged = analysis.no_answer
    assert judged is not None
    examples = [one.example for one in analysis.outcomes]
    texts = {
        one.example.id: next(found.text for found in one.n_best if found.end_char > found.start_char)
        for one in analysis.outcomes
    }
    without = {example.id for example in examples if not example.has_answer}
    for values in zip(*judged.sweep.values(), strict=True):
        point = dict(zip(judged.sweep, values, strict=True))
        predictions = apply_threshold(texts, analysis.run.null_odds, point["threshold"])
        scores = score(examples, predictions)
        empty = {question_id for question_id, text in predictions.items() if not text}
        assert (point["exact"], point["f1"]) == (pytest.approx(scores["exact"]), pytest.approx(scores["f1"]))
        assert point["recall"] == pytest.approx(100 * len(empty & without) / len(without))
        precision = 100 * len(empty & without) / len(empty) if empty else math.nan
        assert point["precision"] == pytest.approx(precision, nan_ok=True)
    assert judged.sweep["recall"][[0, -1]].tolist() == [100.0, 0.0]
    # The official search admits questions one by one and the sweep is thinned; both see the same best here.
    assert judged.best.best_f1 == pytest.approx(judged.sweep["f1"].max())


def test_the_table_counts_every_question_once(run_v2: Path) -> None:
    (analysis,) = analyse(load_runs([run_v2]))
    judged = analysis.no_answer
    assert judged is not None
    assert judged.found + judged.missed == sum(not one.example.has_answer for one in analysis.outcomes)
    assert judged.found + judged.missed + judged.wrongly_empty + judged.answered == len(analysis.outcomes)
    assert judged.recall == pytest.approx(analysis.run.scores["NoAns_exact"])
    assert judged.precision is not None


def test_v1_has_nothing_to_judge(plain_run: Path) -> None:
    (analysis,) = analyse(load_runs([plain_run]))
    assert analysis.no_answer is None


def test_without_null_odds_nothing_is_judged(run_v2: Path, tmp_path: Path) -> None:
    (analysis,) = analyse(load_runs([run_v2]))
    without = Path(shutil.copytree(run_v2, tmp_path / "run"))
    (without / "null_odds.json").unlink()
    assert judge_no_answer(load_run(without), analysis.outcomes) is None
