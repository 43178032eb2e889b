"""A run's answers: kinds of errors, ranks, and data that is missing or has changed."""

import json
import shutil
from pathlib import Path

import pytest

from albertqa.data.example import Example, Gold
from albertqa.errors import RunError
from albertqa.report import write_report
from albertqa.report.analysis import load_runs
from albertqa.report.outcome import KINDS, RANKS, outcomes_of, reload_validation, window_ranges
from albertqa.rundir.directory import load_run

from . import cases

CONTEXT = "Rollo led the Normans. Later William ruled England from London."


def _outcome(tmp_path: Path, answer: str, golds: tuple[str, ...], *, windows: tuple[tuple[int, int], ...] = ()) -> str:
    example = Example("q", "Who?", CONTEXT, tuple(Gold(text, CONTEXT.index(text)) for text in golds))
    data = cases.write_squad(tmp_path / "dev.json", [example], version_2=not golds)
    rows = cases.candidates(example, [answer, "Later"], [2.0, 1.0])
    odds = None if golds else {"q": 0.5}
    run = load_run(cases.write_run(tmp_path / "run", data, [example], {"q": answer}, {"q": rows}, null_odds=odds))
    (outcome,) = outcomes_of(run, [example], [windows] if windows else None)
    return KINDS[outcome.kind].key


@pytest.mark.parametrize(
    ("answer", "golds", "kind"),
    [
        ("Rollo", ("Rollo",), "right"),
        ("the Normans", ("Normans",), "right"),
        ("Rollo led", ("Rollo",), "boundary"),
        ("London", ("William", "England from London"), "boundary"),
        ("William", ("Rollo",), "place"),
        ("", ("Rollo",), "missed"),
        ("", (), "right"),
        ("Rollo", (), "unanswerable"),
    ],
)
def test_kind_of_answer(tmp_path: Path, answer: str, golds: tuple[str, ...], kind: str) -> None:
    assert _outcome(tmp_path, answer, golds) == kind


def test_wrong_window_is_an_answer_from_windows_that_hold_no_gold(tmp_path: Path) -> None:
    gold_end, second_start = CONTEXT.index("Later") + 5, CONTEXT.index("Later")
    windows = ((0, gold_end), (second_start, len(CONTEXT)))
    assert _outcome(tmp_path, "London", ("Rollo",), windows=windows) == "window"


def test_answer_that_shares_a_window_with_a_gold_is_in_the_wrong_place(tmp_path: Path) -> None:
    windows = ((0, CONTEXT.index("ruled")), (CONTEXT.index("Later"), len(CONTEXT)))
    assert _outcome(tmp_path, "William", ("Rollo",), windows=windows) == "place"


def test_without_candidates_shared_words_suggest_the_place(tmp_path: Path) -> None:
    example = Example("q", "Who?", CONTEXT, (Gold("William", CONTEXT.index("William")),))
    data = cases.write_squad(tmp_path / "dev.json", [example])
    for number, (answer, kind) in enumerate({"Later William": "boundary", "London": "place"}.items()):
        run = load_run(cases.write_run(tmp_path / f"run{number}", data, [example], {"q": answer}, {}))
        (outcome,) = outcomes_of(run, [example], None)
        assert (KINDS[outcome.kind].key, outcome.probability, outcome.rank) == (kind, None, None)


@pytest.mark.parametrize(
    ("texts", "rank"),
    [(["Rollo"], 0), (["London", "Rollo"], 1), (["London", *["Later"] * 5, "Rollo"], 2), (["London", "Later"], 3)],
)
def test_rank_is_that_of_the_first_right_candidate(tmp_path: Path, texts: list[str], rank: int) -> None:
    example = Example("q", "Who?", CONTEXT, (Gold("Rollo", 0),))
    data = cases.write_squad(tmp_path / "dev.json", [example])
    rows = cases.candidates(example, texts, [5.0 - at for at in range(len(texts))])
    run = load_run(cases.write_run(tmp_path / "run", data, [example], {"q": texts[0]}, {"q": rows}))
    (outcome,) = outcomes_of(run, [example], None)
    assert RANKS[outcome.rank or 0] == RANKS[rank]


def test_windows_are_those_of_the_run(plain_run: Path) -> None:
    run = load_run(plain_run)
    examples, missing = reload_validation(run)
    windows, reason = window_ranges(run, examples)
    assert (missing, reason) == ("", "")
    assert windows is not None
    assert sum(len(ranges) for ranges in windows) == run.facts.data.validation.windows
    assert all(ranges[0] == (0, len(one.context)) for one, ranges in zip(examples, windows, strict=True))


def test_missing_data_has_a_reason(tmp_path: Path) -> None:
    examples = cases.examples_of(1)
    data = cases.write_squad(tmp_path / "dev.json", examples)
    run = load_run(cases.write_run(tmp_path / "run", data, examples, dict.fromkeys((e.id for e in examples), "x"), {}))
    data.unlink()
    found, missing = reload_validation(run)
    assert not found
    assert "can no longer be read" in missing
    assert "dev.json" in missing


def test_changed_data_has_a_reason(tmp_path: Path) -> None:
    examples = cases.examples_of(1)
    data = cases.write_squad(tmp_path / "dev.json", examples)
    run = load_run(cases.write_run(tmp_path / "run", data, examples, dict.fromkeys((e.id for e in examples), "x"), {}))
    data.write_text(data.read_text(encoding="utf-8").replace("opened", "closed"), encoding="utf-8")
    found, missing = reload_validation(run)
    assert not found
    assert "has changed since the run" in missing


def test_further_questions_at_the_end_of_the_data_do_not_matter(tmp_path: Path) -> None:
    examples = cases.examples_of(2)
    data = cases.write_squad(tmp_path / "dev.json", examples)
    first = examples[:5]
    run = load_run(cases.write_run(tmp_path / "run", data, first, dict.fromkeys((e.id for e in first), "x"), {}))
    assert reload_validation(run) == (first, "")


def test_a_run_that_is_listed_twice_is_refused(plain_run: Path) -> None:
    with pytest.raises(RunError, match="this run is listed twice"):
        load_runs([plain_run, plain_run / ".." / plain_run.name])


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(RunError, match="at least one run directory"):
        load_runs([])


def test_names_are_as_short_as_they_can_be(plain_run: Path, run_v2: Path) -> None:
    assert list(load_runs([plain_run, run_v2])) == [f"{plain_run.parent.name}/run", f"{run_v2.parent.name}/run"]
    assert list(load_runs([plain_run])) == ["run"]


def test_a_damaged_run_is_one_clear_line(plain_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.json there, expected a run directory of 'albertqa train'"):
        write_report([tmp_path])
    damaged = Path(shutil.copytree(plain_run, tmp_path / "run"))
    (damaged / "nbest_predictions.json").write_text(json.dumps({"q0-0": [{"text": "x"}]}), encoding="utf-8")
    with pytest.raises(RunError, match=r"nbest_predictions\.json: question q0-0: expected .*start_char.*, found none"):
        write_report([damaged])
    (damaged / "health.json").write_text('{"findings": [1]}', encoding="utf-8")
    shutil.copy(plain_run / "nbest_predictions.json", damaged)
    with pytest.raises(RunError, match=r"health\.json: expected an object"):
        write_report([damaged])


def test_data_that_run_json_does_not_name_has_a_reason(plain_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plain_run, tmp_path / "run"))
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del facts["data"]["validation"]["sources"]
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert "run.json does not name it" in reload_validation(load_run(run))[1]
