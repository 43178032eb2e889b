"""Commands as a newcomer runs them, on real files: results, messages and exit codes."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from albertqa.cli.command_line import command_name
from albertqa.cli.commands import Command
from albertqa.data.formats.squad_json import squad_document
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file

from .conftest import Run

COMMANDS = [command_name(kind) for kind in get_args(Command)]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "serve"])
def test_every_command_takes_json(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--json" in out


def test_help_imports_no_torch() -> None:
    probe = "import sys, albertqa.cli as c; c.main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_package_runs_as_the_command_does() -> None:
    for arguments, code in (["--version"], 0), (["trian"], 2):
        command = [sys.executable, "-m", "albertqa", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert (done.stdout or done.stderr).startswith("albertqa")


def test_check_counts_questions_and_windows(run: Run, spiece_model: Path) -> None:
    code, out, _ = run("check", starter_file("dev"), "--tokenizer", spiece_model, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["questions"] == report["files"][0]["questions"] > 300
    assert report["windows"] == report["files"][0]["windows"] >= report["questions"]
    assert report["files"][0]["golds_exact_percent"] > 95


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "lengths", "questions", "windows"),
    [
        ("squad/dev-v1.1.json", (384, 128), 10_570, 10_808),
        ("squad/dev-v2.0.json", (384, 128), 11_873, None),
        ("shifts/new_wiki_v1.0.json", (384, 128), 7_938, None),
        ("squad/dev-v1.1.json", (256, 64), 10_570, None),
    ],
)
def test_check_gives_the_recipes_windows(
    run: Run, real_data: Path, file: str, lengths: tuple[int, int], questions: int, windows: int | None
) -> None:
    code, out, _ = run(
        "check", real_data / file, "--tokenizer", real_data / "albert/spiece.model", "--json",
        "--max-seq-length", lengths[0], "--doc-stride", lengths[1],
    )  # fmt: skip
    report = json.loads(out)
    assert code == 0
    assert report["questions"] == questions
    assert report["windows"] == windows if windows is not None else report["windows"] >= questions


@pytest.mark.real_data
def test_check_under_a_tokenizer_warns_or_refuses_with_what_it_loses(run: Run, real_data: Path) -> None:
    tokenizer, cases = real_data / "albert/spiece.model", real_data.parent / "cases"
    if not cases.is_dir():
        pytest.skip(f"no input cases at {cases}")
    code, out, _ = run("check", cases / "combining/french-nfd.json", "--tokenizer", tokenizer)
    # Two questions are few, and that is all there is to say.
    assert (code, "errors: 0, warnings: 0" in out, "answers-changed" in out) == (0, True, False)
    code, out, _ = run("check", cases / "limits/chinese.json", "--tokenizer", tokenizer)
    assert (code, "OK: ready" in out) == (1, False)
    assert "100 % of 2 answers begin or end inside a token" in out
    assert "does not fit the language" in out
    code, out, _ = run("check", cases / "limits/long-questions.json", "--tokenizer", tokenizer)
    assert code == 1
    clause = "has 453 tokens and leaves -72 of 384 for the context, expected more than doc_stride (128). Shorten the "
    assert [f"question {name}: {clause}" in " ".join(out.split()) for name in ("long1", "long2")] == [True, True]


def test_check_reports_broken_json_by_line_and_column_and_exits_1(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"data": [\n  {"title": ]}')
    code, out, _ = run("check", broken, "--json")
    report = json.loads(out)
    assert code == 1
    assert report["problems"][0]["kind"] == "broken-json"
    assert "line 2" in json.dumps(report["problems"][0]["cases"])


def test_check_repairs_what_is_safe(run: Run, tmp_path: Path) -> None:
    rows = [
        {"id": "1", "question": "Who?", "context": "It was Rollo.", "answer_text": "Rollo", "answer_start": 3},
        {"id": "2", "question": "When?", "context": "It was 911.", "answer_text": "912", "answer_start": 7},
    ]
    source, target = tmp_path / "mine.jsonl", tmp_path / "fixed.json"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, _ = run("check", source, "--write-repaired", target, "--json")
    assert code == 1
    kept = json.loads(target.read_text())["data"][0]["paragraphs"][0]["qas"]
    assert [(qa["id"], qa["answers"][0]["answer_start"]) for qa in kept] == [("1", 7)]
    assert "2" in (tmp_path / "fixed.json.dropped.json").read_text()


def test_training_on_misaligned_data_points_to_check(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    source = tmp_path / "mine.jsonl"
    row = {"id": "1", "question": "Who?", "context": "It was Rollo.", "answer_text": "Rollo", "answer_start": 3}
    source.write_text(json.dumps(row))
    code, out, err = run(
        "train", "--model", tiny_folder, "--from-scratch", "--train-file", source, "--output-dir", tmp_path / "run"
    )
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "answer_start 3" in err
    assert "albertqa check" in err


def test_a_run_that_cannot_be_reported_prints_its_error_alone(run: Run, trained: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "run"))
    predictions = copy / "nbest_predictions.json"
    predictions.write_text(predictions.read_text()[:-40])
    code, out, err = run("train", "--resume", "--output-dir", copy, "--json")
    assert code == 2
    assert json.loads(out)["error"].startswith(f"{predictions}: broken JSON at line")
    assert err.splitlines()[-1] == f"albertqa: {json.loads(out)['error']}"


def test_evaluate_repeats_what_training_reported(run: Run, trained: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "evaluate", trained, "starter:validation", "--max-eval-examples", 12, "--output-dir", tmp_path, "--json"
    )
    assert code == 0
    reported = json.loads((trained / "eval.json").read_text())
    found = json.loads(out)
    for key in ("exact", "f1", "total", "questions", "windows"):
        assert found[key] == reported[key]
    assert found["loss"] == pytest.approx(reported["loss"], abs=1e-6)
    assert json.loads((tmp_path / "eval.json").read_text())["f1"] == found["f1"]
    predictions = json.loads((tmp_path / "predictions.json").read_text())
    assert predictions == json.loads((trained / "predictions.json").read_text())


def test_answer_equals_evaluate_for_one_question_stdin_and_file(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads(starter_file("dev").read_text())["data"][0]["paragraphs"][0]
    predictions = json.loads((trained / "predictions.json").read_text())
    asked = [qa for qa in data["qas"] if qa["id"] in predictions][:3]
    rows = [{"id": qa["id"], "question": qa["question"], "context": data["context"]} for qa in asked]
    code, out, _ = run("answer", trained, "--question", rows[0]["question"], "--context", data["context"], "--json")
    one = json.loads(out)
    assert code == 0
    assert one["text"] == predictions[rows[0]["id"]] == data["context"][one["start_char"] : one["end_char"]]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    file = tmp_path / "ask.jsonl"
    file.write_text(lines)
    code, out, _ = run("answer", trained, "--input", file)
    assert [(row["id"], row["text"]) for row in map(json.loads, out.splitlines())] == [
        (row["id"], predictions[row["id"]]) for row in rows
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    code, piped, _ = run("answer", trained, "--input", "-")
    assert piped == out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1"),
        ('{"question": "Who?", "id": "1"}\n{"question": "Who?", "context": "Rollo."}', "context"),
        ('{"question": "Who?", "context": "Rollo."}\n[1]', "line 2: expected an object"),
        ("", "empty"),
    ],
)
def test_a_bad_row_of_questions_is_one_line(run: Run, trained: Path, tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "ask.jsonl"
    file.write_text(line)
    code, out, err = run("answer", trained, "--input", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"albertqa: {file}: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "standard input: broken JSON at line 1 column 2"),
        ('{"question": "Who?"}', "standard input: line 1: expected an object with a text 'context'"),
        ("[1]", "standard input: line 1: expected an object with a text 'question'"),
        ("", "standard input: has no questions"),
    ],
)
def test_a_bad_row_of_standard_input_is_one_line(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode())))
    code, out, err = run("answer", trained, "--input", "-")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_answer_needs_exactly_one_source_of_questions(run: Run, trained: Path) -> None:
    assert run("answer", trained)[0] == 2
    code, _, err = run("answer", trained, "--question", "Who?")
    assert code == 2
    assert "--context, --context-file or --documents" in err


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("data", "predictions", "expected"),
    [
        (
            "dev-v1.1.json",
            "predictions-v1.1-bert-ensemble.json",
            {"exact": 86.20624408703878, "f1": 92.19557978351129, "total": 10_570},
        ),
        (
            "dev-v2.0.json",
            "predictions-v2.0-bert-single.json",
            {
                "exact": 78.74168280973637,
                "f1": 81.77528052374727,
                "HasAns_exact": 74.10593792172739,
                "HasAns_f1": 80.18183293833516,
                "HasAns_total": 5_928,
                "NoAns_exact": 83.36417157275021,
                "NoAns_f1": 83.36417157275021,
                "NoAns_total": 5_945,
            },
        ),
    ],
)
def test_score_gives_the_published_figures(
    run: Run, real_data: Path, data: str, predictions: str, expected: dict[str, Any]
) -> None:
    code, out, _ = run("score", real_data / "squad" / predictions, real_data / "squad" / data, "--json")
    assert code == 0
    found = json.loads(out)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9)


def test_score_says_where_f1_is_exact_match(run: Run, real_data: Path) -> None:
    limits = real_data.parent / "cases/limits"
    if not limits.is_dir():
        pytest.skip(f"no input cases at {limits}")
    for more in ([], ["--json"]):
        code, out, err = run("score", limits / "cjk-predictions.json", limits / "cjk-gold.json", *more)
        assert code == 0
        assert err.count("\n") == 1
        assert "the official F1 counts such an answer as one word, and equals exact match there" in err
    assert (json.loads(out)["exact"], json.loads(out)["f1"]) == (0, 0)


def test_score_names_missing_and_unknown_ids(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "predictions.json"
    known = next(iter(load_examples("starter:validation"))).id
    file.write_text(json.dumps({known: "x", "nobody": "x"}))
    code, _, err = run("score", file, starter_file("dev"), "--json")
    assert code == 0
    assert "has no prediction for 554 ids" in err
    assert "names unknown 1 id: nobody" in err


def test_predictions_for_other_data_are_not_scored(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "predictions.json"
    file.write_text('{"a": "x", "b": "", "c": "y", "d": "z"}')
    code, out, err = run("score", file, starter_file("dev"), "--json")
    assert code == 2
    assert err == (
        f"albertqa: {file}: none of its 4 ids is in {starter_file('dev')}: a, b, c, …. "
        "Are the two files of the same data?\n"
    )
    assert json.loads(out)["error"] == err[10:-1]
    file.write_text("{}")
    code, _, err = run("score", file, starter_file("dev"))
    assert (code, err.count("\n")) == (2, 1)


def test_a_model_that_cannot_be_fetched_names_three_ways_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, _, err = run(
        "train", "--train-file", "starter:train", "--validation-file", "starter:validation",
        "--output-dir", tmp_path / "run",
    )  # fmt: skip
    assert code == 2
    assert "albert/albert-base-v2" in err
    for way in ("local folder", "network", "--model starter"):
        assert way in err


def test_a_full_disk_is_one_line(run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("albertqa.files.write_text", full)
    code, _, err = run("evaluate", trained, "starter:validation", "--max-eval-examples", 4, "--output-dir", tmp_path)
    assert code == 2
    assert err == f"albertqa: {tmp_path}: No space left on device\n"


PIPES = [
    ("score", "PIPE", "starter:validation"),
    ("train", "--config", "PIPE"),
    ("check", "PIPE"),
    ("report", "PIPE"),
    ("doctor", "PIPE"),
    ("study", "PIPE"),
    ("answer", "RUN", "--input", "PIPE"),
    ("answer", "RUN", "--question", "Who?", "--context-file", "PIPE"),
]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("words", PIPES, ids=" ".join)
def test_a_pipe_in_a_files_place_is_refused_and_not_waited_for(
    run: Run, trained: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    places = {"PIPE": str(tmp_path / "pipe"), "RUN": str(trained)}
    code, _, err = run(*(places.get(word, word) for word in words))
    assert code == (1 if words[0] == "check" else 2)
    assert err.count("\n") == (words[0] != "check")


VANISHING: dict[str, Callable[[Path], object]] = {
    "removed": shutil.rmtree,
    "moved": lambda run: run.rename(run.with_name("elsewhere")),
    "replaced": lambda run: shutil.rmtree(run) or run.touch(),
}


@pytest.mark.parametrize("vanish", VANISHING.values(), ids=VANISHING)
def test_a_run_whose_folder_vanishes_ends_in_one_line(
    run: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vanish: Callable[[Path], object]
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr("albertqa.run.display.TerminalDisplay.on_step", lambda *_: out.is_dir() and vanish(out))
    words = ["train", "--model", tiny_folder, "--from-scratch", "--train-file", "starter:train", "--max-steps", 2]
    words += ["--validation-file", "starter:validation", "--max-train-examples", 8, "--max-eval-examples", 4]
    code, _, err = run(*words, "--output-dir", out)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"albertqa: {tmp_path}")
    assert "Traceback" not in err


def test_help_answers_at_once() -> None:
    """Not a measurement: a guard against a heavy import at the top (torch alone takes seconds)."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "albertqa", "train", "--help"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert not {"torch", "transformers", "datasets", "pyarrow"} & {
        line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()
    }


def test_a_threshold_is_tuned_on_one_file_and_applied_to_another(run: Run, trained: Path, tmp_path: Path) -> None:
    ours, theirs = starter_file("dev", version_2=True), starter_file("train", version_2=True)
    limit = ("--max-eval-examples", 40)
    _, out, _ = run("evaluate", trained, ours, *limit, "--tune-threshold", "--json", "--output-dir", tmp_path / "a")
    tuned = json.loads(out)
    threshold = tuned["tuned_best_f1_thresh"]
    assert tuned["tuned_best_f1"] >= tuned["f1"]
    _, out, _ = run(
        "evaluate",
        trained,
        ours,
        *limit,
        "--null-score-diff-threshold",
        threshold,
        "--json",
        "--output-dir",
        tmp_path / "b",
    )
    assert json.loads(out)["f1"] == pytest.approx(tuned["tuned_best_f1"], abs=1e-9)
    code, out, _ = run(
        "evaluate",
        trained,
        theirs,
        *limit,
        "--null-score-diff-threshold",
        threshold,
        "--json",
        "--output-dir",
        tmp_path / "c",
    )
    assert code == 0
    odds = json.loads((tmp_path / "c/null_odds.json").read_text())
    predictions = json.loads((tmp_path / "c/predictions.json").read_text())
    assert all((predictions[one] == "") == (odds[one] > threshold) for one in odds)


def test_several_files_are_evaluated_as_one(run: Run, trained: Path, tmp_path: Path) -> None:
    limit = ("--max-eval-examples", 6)
    first = tmp_path / "first.json"
    first.write_text(json.dumps(squad_document(load_examples("starter:validation", limit=4))))
    shutil.copytree(trained, tmp_path / "run")
    code, out, _ = run("evaluate", tmp_path / "run", first, "starter:train", *limit, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["total"] == 6
    rows = found["files"]
    assert [(row["file"], row["questions"]) for row in rows] == [(str(first), 4), ("starter:train", 2), ("all", 6)]
    for name in ("exact", "f1"):
        means = [row[name]["mean"] for row in rows]
        assert means[2] == pytest.approx(found[name]) == pytest.approx((4 * means[0] + 2 * means[1]) / 6)
        assert all(row[name]["low"] <= row[name]["mean"] <= row[name]["high"] for row in rows)
    written = tmp_path / "run" / "evaluation-first-starter-train" / "predictions.json"
    expected = [*load_examples("starter:validation", limit=4), *load_examples("starter:train", limit=2)]
    assert list(json.loads(written.read_text())) == [one.id for one in expected]
    code, _, err = run("evaluate", trained)
    assert code == 2
    assert "evaluate: expected at least one data file, found none" in err


def test_tuning_where_every_question_has_an_answer_is_refused(run: Run, trained: Path, tmp_path: Path) -> None:
    code, _, err = run(
        "evaluate",
        trained,
        "starter:validation",
        "--max-eval-examples",
        4,
        "--tune-threshold",
        "--output-dir",
        tmp_path,
    )
    assert code == 2
    assert "nothing to tune" in err


def test_check_refuses_lengths_that_make_no_windows(run: Run) -> None:
    code, _, err = run("check", "starter:train", "--doc-stride", "-1")
    assert code == 2
    assert err == "albertqa: settings: --doc-stride is -1, expected 0 or more\n"
