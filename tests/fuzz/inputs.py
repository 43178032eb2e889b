"""Files beside the training data, damaged: predictions, null odds, questions to answer, settings."""

import dataclasses
import io
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from albertqa import cli
from albertqa.answer import answerer
from albertqa.config import Settings, load_settings, to_toml
from albertqa.errors import AlbertQAError
from albertqa.study.spec import load_spec

from .campaign import damaged, damaged_value, strict_json
from .commands import error_kind, run_command
from .readers import good_files

_CONTEXT = "Beyoncé rose to fame in the late 1990s. 😀 She sang in Houston, and Houston loved her."
_TOML_VALUES = [
    "nan", "-inf", "9" * 5000, "1e400", "[" * 200 + "]" * 200, "{a = 1}", "[1, 'x']", "true", "''", "-1", "1979-13-01",
    '"\\u001b[31m"', '"\\ud800"', "2**64", str(2**64), "0.5", "1_000", "['a', ['b']]",
]  # fmt: skip
_STUDY = """output = "study"
search = "grid"
seeds = [1, 2, 3]

[base]
train_file = ["starter:train"]
validation_file = ["starter:validation"]

[space]
learning_rate = [1e-5, 3e-5]
epochs = [1, 2]
"""
_QUESTIONS = [{"id": f"q{n}", "question": f"Question {n}?", "context": _CONTEXT} for n in range(3)]


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


class Score:
    """`albertqa score` with damaged predictions, null odds and data."""

    def __init__(self) -> None:
        answers = [{"text": "fame", "answer_start": _CONTEXT.index("fame")}]
        rows = [{**row, "answers": answers[: number < 2]} for number, row in enumerate(_QUESTIONS)]
        self.good: dict[str, Any] = {
            "predictions.json": {"q0": "fame", "q1": "Houston", "q2": ""},
            "odds.json": {"q0": -3.5, "q1": 0, "q2": 7.25},
            "data.json": rows,
        }
        self.others = [*good_files().values()]

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        broken = list(self.good)[number % 3]
        for name, value in self.good.items():
            data = _bytes(value)
            if name == broken:
                in_bytes = rng.random() < 0.5
                data = damaged(data, self.others, rng) if in_bytes else _bytes(damaged_value(json.loads(data), rng))
            (folder / name).write_bytes(data)
        words = ["score", folder / "predictions.json", folder / "data.json"]
        words += ["--null-odds", folder / "odds.json"] if rng.random() < 0.7 else []
        words += rng.choice([[], ["--json"]])
        code, _, warned = run_command(*words)
        return f"{broken}-{code}" if code != 2 else f"{broken}-{error_kind(warned)}"


class AnswerInput:
    """`albertqa answer RUN --input`, from a file and from standard input, to every kind of output.

    Args:
        run: A run directory; its model is loaded once.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.answerer = answerer.Answerer(str(run), device="cpu", num_threads=1)
        lines = b"".join(_bytes(row) + b"\n" for row in _QUESTIONS)
        self.good = {**good_files(), "-": lines}
        self.others = list(self.good.values())

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        form = list(self.good)[number % len(self.good)]
        data = damaged(self.good[form], self.others, rng)
        source = "-" if form == "-" else str(folder / f"in{form}")
        if form != "-":
            Path(source).write_bytes(data)
        output = rng.choice([None, folder / "out.json", folder / "out.jsonl"])
        words = ["answer", self.run, "--input", source, *(["--output", output] if output else [])]
        stdin = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")
        # The same model for every input; how it is loaded is another target.
        loaded = mock.patch.object(answerer, "Answerer", return_value=self.answerer)
        with loaded, mock.patch.object(sys, "stdin", stdin):
            code, printed, warned = run_command(*words)
        if code == 2:
            assert output is None or not output.exists()
            return error_kind(warned)
        if output and output.suffix == ".json":
            rows = list(strict_json(output.read_text(encoding="utf-8")).values())
        else:
            lines = output.read_text(encoding="utf-8") if output else printed
            rows = [strict_json(line) for line in lines.split("\n")[:-1]]
        assert rows
        return f"answered-{form}"


class Toml:
    """Damaged settings files, as `train --config` takes them, and damaged files of a study."""

    def __init__(self) -> None:
        self.good = to_toml(Settings()).encode()
        self.study = _STUDY.encode()
        self.names = [one.name for one in dataclasses.fields(Settings)]
        self.others = [b"a = 1\n", b"[a.b]\nc = {d = [1, 2]}\n", b'x = """\n', b"seed = 0x7f\n", b"d = 1979-05-27\n"]

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        path = folder / "settings.toml"
        if rng.random() < 0.5:
            data = damaged(self.good, self.others, rng)
        else:
            names = rng.sample(self.names, 2)
            data = "".join(f"{name} = {rng.choice(_TOML_VALUES)}\n" for name in names).encode()
        if number % 3 == 0:
            path.write_bytes(damaged(self.study, [self.good, *self.others], rng))
            return _outcome(lambda: load_spec(path))
        path.write_bytes(data)
        if number % 20 == 1:  # the command line is parsed in a tenth of a second
            _outcome(lambda: cli.parse(["train", "--config", str(path)]).settings.check())
        _outcome(lambda: load_settings(path, is_run=True))
        return _outcome(lambda: load_settings(path).check())


def _outcome(call: Callable[[], object]) -> str:
    """Return the kind of error that a call ends with, which must be one printable line."""
    try:
        call()
    except AlbertQAError as error:
        if not str(error).isprintable():
            raise AssertionError(repr(str(error))) from error
        return error_kind(str(error))
    return "read"
