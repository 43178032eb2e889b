"""Output: nothing that a terminal would obey, any encoding, JSON without NaN, and readers that leave early."""

import errno
import io
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from safetensors import SafetensorError

from albertqa import cli
from albertqa.cli.output import json_text, prepare_output, printable
from albertqa.cli.terminal import Terminal
from albertqa.data.starter import starter_file
from albertqa.errors import DataError

from . import conftest
from .conftest import Run, command, process

ESCAPES = "\x1b[31mred\x1b[0m \x07 \x9b2J \u202eabc\u202c \x7f \r"
CONTROL = {chr(code) for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F))} - {"\n", "\t"}


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert not CONTROL & set(printable(text))
    line = printable(text, is_line=True)
    assert line.isprintable() or set(line) <= {one for one in text if not one.isprintable()} | set(line)
    assert len((line + ".").splitlines()) == 1
    if not CONTROL & set(text):
        assert printable(text).replace("\\u2028", "\u2028").replace("\\u2029", "\u2029") in {text, printable(text)}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_console_prints_text_tables_and_strings_without_control_characters(text: str) -> None:
    terminal = Terminal()
    terminal.file = io.StringIO()
    terminal.say(text)
    terminal.print(Text(text))
    terminal.table(text, {f"a{text}": text})
    assert not CONTROL & set(terminal.file.getvalue())


def test_errors_show_control_characters_escaped(run: Run, tmp_path: Path) -> None:
    for words in (
        ["doctor", tmp_path / "run\x1b[2Jx"],
        ["train", "--model", "mo\x1b]0;title\x07del"],
        ["tr\x1b[31min"],
        ["train", "--config", tmp_path / "no\nsuch\x9b.toml"],
    ):
        code, _, err = run(*words)
        assert code == 2
        assert err.count("\n") == 1
        assert not CONTROL & set(err)
        assert "\\x" in err or "\\n" in err


def test_keys_of_a_settings_file_are_escaped(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('"se\\u001b[31med" = 1\n')
    code, _, err = run("train", "--config", file)
    assert code == 2
    assert "unknown key 'se\\x1b[31med'" in err


def test_ids_and_answers_are_escaped(run: Run, trained: Path, tmp_path: Path) -> None:
    data = json.loads(starter_file("dev").read_text())
    question = data["data"][0]["paragraphs"][0]["qas"][0]
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps({question["id"]: "x", ESCAPES: "y"}))
    code, _, err = run("score", predictions, starter_file("dev"))
    assert code == 0
    assert "names unknown 1 id: \\x1b[31mred" in err
    assert not CONTROL & set(err)
    words = ["answer", trained, "--question", "Who?", "--context", f"It was {ESCAPES} Rollo {ESCAPES}", "--n-best", 9]
    code, out, _ = run(*words)
    assert code == 0
    assert not CONTROL & set(out)
    code, out, _ = run(*words, "--json")
    assert json.loads(out)["n_best"]
    assert not CONTROL & set(out)


def test_json_has_neither_nan_nor_infinity() -> None:
    value = {"loss": math.nan, "rows": [1.5, math.inf, {"x": (-math.inf, "NaN")}]}
    assert json.loads(json_text(value)) == {"loss": None, "rows": [1.5, None, {"x": [None, "NaN"]}]}


@given(st.recursive(st.text() | st.floats() | st.booleans() | st.none(), st.lists, max_leaves=8))
def test_json_is_valid_and_safe_whatever_it_holds(value: Any) -> None:
    text = json_text(value)
    assert not CONTROL & set(text)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_of_any_encoding_takes_every_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2)]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    prepare_output()
    print("58.2 ± 1.4 → café … 東京 \ud800")
    streams[0].flush()
    found = streams[0].buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert (
        found
        == {
            "ascii": "58.2 +- 1.4 -> caf\\xe9 ... \\u6771\\u4eac \\ud800\n",
            "latin-1": "58.2 ± 1.4 -> café ... \\u6771\\u4eac \\ud800\n",
            "utf-8": "58.2 ± 1.4 → café … 東京 \\ud800\n",
        }[encoding]
    )


def test_commands_work_where_output_is_ascii_only(trained: Path, tmp_path: Path) -> None:
    question = tmp_path / "ask.jsonl"
    question.write_text(json.dumps({"question": "Où?", "context": "Le café → la gare 東京."}) + "\n")
    for words in (
        ["check", "starter:validation"],
        ["doctor", trained],
        ["answer", trained, "--input", question],
        ["answer", trained, "--question", "Où?", "--context", "Le café → la gare 東京."],
    ):
        done = process(*words, PYTHONIOENCODING="ascii")
        assert done.returncode in {0, 1}, done.stderr
        assert b"Traceback" not in done.stderr
        assert done.stdout.isascii()
        if "--input" in words:
            assert json.loads(done.stdout)["question"] == "Où?"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataError("a.json: line 1: wrong"), "a.json: line 1: wrong"),
        (OSError(errno.ENOSPC, "No space left on device", "/run/x"), "/run/x: No space left on device"),
        (OSError("broken"), "system: broken"),
        (MemoryError(), "out of memory. "),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply to be read"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
         "Error while serializing: I/O error: No space left on device (os error 28)"),
        (Exception("No space left on device (os error 28)"), "No space left on device (os error 28)"),
        (UnicodeEncodeError("utf-8", "a\ud800b", 1, 2, "surrogates not allowed"),
         "a text has half a character (lone surrogate) at 1: 'a\\ud800b'"),
    ],
)  # fmt: skip
def test_what_a_user_can_cause_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("albertqa.data.checking.check_files", fail)
    for words in (["check", "a.json"], ["check", "a.json", "--json"]):
        code, out, err = run(*words)
        assert code == 2
        assert err.startswith(f"albertqa: {message}")
        assert err.count("\n") == 1
        assert out == "" if "--json" not in words else json.loads(out)["error"] == err[10:-1]


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("albertqa.data.checking.check_files", fail)
    with pytest.raises(KeyError):
        cli.main(["check", "a.json"])


def test_ctrl_c_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("albertqa.data.checking.check_files", fail)
    assert run("check", "a.json") == (130, "", "albertqa: interrupted\n")


@pytest.mark.parametrize("words", [["check", "starter:validation", "--json"], ["--help"], ["train", "--help"]])
def test_a_reader_that_leaves_early_is_no_error(words: list[str]) -> None:
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 0


def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("check", "starter:validation", "--json"), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"albertqa: ")
    assert done.stderr.count(b"\n") == 1
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (("doctor", "nothing-there"), "guides/a-run-goes-wrong"),
        (("check", "starter:validation", "--tokenizer", "/nothing-there"), "guides/languages"),
        (("train", "--epochs", "-1"), "reference/settings"),
    ],
)
def test_an_error_names_the_page_that_helps_on(
    words: tuple[str, ...], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["page"] == f"docs/_build/html/{page}.html"
    terminal = conftest.Terminal(words, 120)
    first, second = terminal.read().splitlines()
    assert terminal.exit_code() == 2
    assert first.startswith("albertqa: ")
    assert second == f"more: docs/_build/html/{page}.html ('make docs' in a clone builds it)"
