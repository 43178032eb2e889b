"""An own table of 800 rows, exported from Excel, with what such tables have: to a reader that answers."""

import csv
from pathlib import Path

from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file

from .conftest import Shell

COLUMNS = ["--question-column", "Frage", "--context-column", "Text", "--answer-column", "Antwort"]


def write_table(path: Path) -> None:
    """Write 800 rows as Excel saves them in Europe, some with the usual faults."""
    examples = load_examples(starter_file("train"))[:800]
    with path.open("w", newline="", encoding="cp1252", errors="replace") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["Nr", "Frage", "Text", "Antwort"])
        for number, one in enumerate(examples):
            answer = one.golds[0].text
            if number % 100 == 10:
                answer = answer.upper()  # another case
            elif number % 100 == 20:
                answer = "nowhere in the text"
            elif number % 100 == 30:
                answer = ""
            writer.writerow([number, one.question, one.context, answer])


def test_from_a_table_to_a_reader(shell: Shell) -> None:
    write_table(shell.folder / "faq.csv")

    # Each error names the flag that helps.
    printed = shell("albertqa", "check", "faq.csv", codes=[1])
    assert "--encoding (cp1252 gives" in printed
    printed = shell("albertqa", "check", "faq.csv", "--encoding", "cp1252", codes=[1])
    assert "--question-column, --context-column and --answer-column" in printed

    read = [*COLUMNS, "--encoding", "cp1252"]
    report = shell.json("albertqa", "check", "faq.csv", *read, codes=[1])
    assert report["questions"] == 800
    printed = shell("albertqa", "check", "faq.csv", *read, codes=[1])
    assert "empty-answer (8" in printed

    # Repaired: what is only another case is found; what is not there, and what is empty, is left out and listed.
    words = [*read, "--empty-answers", "skip", "--ambiguous-answers", "first", "--write-repaired", "faq.json"]
    printed = shell("albertqa", "check", "faq.csv", *words, codes=[1])
    assert "faq.json" in printed
    examples = load_examples(shell.folder / "faq.json")
    assert 750 < len(examples) < 800
    assert all(one.context[gold.answer_start :].startswith(gold.text) for one in examples for gold in one.golds)
    assert "nowhere in the text" not in {gold.text for one in examples for gold in one.golds}

    train = ["--model", "albert/albert-base-v2", "--train-file", "faq.json", "--epochs", "1", "--lr", "1e-3"]
    printed = shell("albertqa", "train", *train, "--output-dir", "runs/faq")
    assert "split off by context" in printed
    assert (shell.folder / "runs/faq/report.html").is_file()

    # A tiny model learns little in one epoch, and the doctor says so; every finding has its command.
    health = shell.json("albertqa", "doctor", "runs/faq", codes=[0, 1])
    assert all(finding["remedy"] for finding in health["findings"])

    asked = examples[0]
    answer = shell.json("albertqa", "answer", "runs/faq", "--question", asked.question, "--context", asked.context)
    assert asked.context[answer["start_char"] : answer["end_char"]] == answer["text"]
