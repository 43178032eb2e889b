"""Damaged run directories: bits flipped, files cut, values of other types, files missing and swapped.

Every command that reads a run is tried on them. A resumed run must end as the undamaged one does, or be refused: a
checkpoint in which something is damaged is passed over, and the run goes on from the one before it.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from albertqa import files
from albertqa.config import Settings
from albertqa.run.callbacks import Callback
from albertqa.run.recipe import train
from albertqa.rundir.rows import StepRow

from .campaign import damaged, damaged_value
from .commands import error_kind, run_command

_LAST_STEP, _STOPPED_AFTER = 4, 3
_WEIGHTS = "model.safetensors"
Damage = Callable[[Path, list[Path], random.Random], None]


class _Stop(Callback):
    """Ask the run to stop, as Ctrl-C does."""

    def on_step(self, row: StepRow) -> None:
        if row.step == _STOPPED_AFTER:
            os.kill(os.getpid(), signal.SIGINT)


class Runs:
    """A finished and an interrupted run of a tiny model, of which copies are damaged.

    Args:
        folder: Where the good runs go.
        model: The model folder to train from.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        rows = [
            {"id": f"q{n}", "question": f"Where is {n}?", "context": f"{n} is in Lindholm, they say.",
             "answers": {"text": ["Lindholm"], "answer_start": [8]} if n < 5 else {"text": [], "answer_start": []}}
            for n in range(6)
        ]  # fmt: skip
        self.data = folder / "data.jsonl"
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = Settings(
            model=str(model), from_scratch=True, train_file=(str(self.data),), validation_file=(str(self.data),),
            output_dir=folder / "finished", train_batch_size=3, max_steps=_LAST_STEP, save_steps=1, eval_steps=2,
            max_seq_length=64, doc_stride=16, device="cpu", num_threads=1, learning_rate=1e-3,
        )  # fmt: skip
        self.finished = train(settings).run
        self.interrupted = folder / "interrupted"
        with contextlib.redirect_stderr(io.StringIO()):
            shutil.copytree(self.finished, folder / "kept")  # the same output_dir, so that nothing else differs
            shutil.rmtree(self.finished)
            train(settings, callbacks=[_Stop()])
            self.finished.rename(self.interrupted)
            (folder / "kept").rename(self.finished)
        self.final_sha256 = _sha256(self.finished / files.FINAL / _WEIGHTS)
        self.others = [path.read_bytes() for path in sorted(self.finished.rglob("*.json*"))]

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        command = rng.choice(["report", "doctor", "answer", "evaluate", "resume"])
        is_interrupted = command == "resume" or rng.random() < 0.3
        run = Path(
            shutil.copytree(self.interrupted if is_interrupted else self.finished, folder / "run", symlinks=True)
        )
        damage = DAMAGES[number % len(DAMAGES)]
        candidates = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
        touched = rng.choice(_worth_damaging(candidates, command, rng))
        damage(touched, candidates, rng)
        code, printed, warned = self._run(command, run, rng, folder)
        name = f"{command}-{damage.__name__}"
        if code == 2:
            return f"{name}-{error_kind(warned)}"
        if command == "resume":
            is_settings = touched.name == files.CONFIG_TOML or damage is swapped
            if not is_settings and _sha256(run / files.FINAL / _WEIGHTS) != self.final_sha256:
                raise AssertionError(f"another result, {touched.relative_to(run)} damaged: {printed[-300:]} {warned}")
        return f"{name}-{code}"

    def _run(self, command: str, run: Path, rng: random.Random, folder: Path) -> tuple[int, str, str]:
        as_json = rng.choice([[], ["--json"]])
        if command == "report":
            return run_command("report", run, "--output", folder / "page.html", *as_json)
        if command == "doctor":
            return run_command("doctor", run, *as_json, *rng.choice([[], [], ["--write"], ["--show-rows"]]))
        if command == "answer":
            texts = ["--question", "Where is 3?", "--context", "3 is in Lindholm, they say."]
            return run_command("answer", run, *texts, "--num-threads", 1, *as_json)
        if command == "evaluate":
            return run_command("evaluate", run, self.data, "--num-threads", 1, *as_json)
        return run_command("train", "--resume", "--output-dir", run, *as_json)


def _worth_damaging(candidates: list[Path], command: str, rng: random.Random) -> list[Path]:
    """Choose among the files of one kind, so that small ones that are read by a command are damaged often."""
    top = [path for path in candidates if path.parent.name == "run"]
    if command in {"answer", "evaluate"}:
        top += [path for path in candidates if files.BEST in path.parts] * 3
    if command == "resume":
        top += [path for path in candidates if files.CHECKPOINTS in path.parts] * 2
    return top if rng.random() < 0.9 else candidates


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bits_flipped(path: Path, _: list[Path], rng: random.Random) -> None:
    """Flip one to four bits."""
    data = bytearray(path.read_bytes())
    for _number in range(rng.choice([1, 1, 4])):
        # Headers are where it hurts.
        at = rng.randrange(len(data)) if rng.random() < 0.6 else rng.randrange(min(len(data), 2000))
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def cut(path: Path, _: list[Path], rng: random.Random) -> None:
    """Keep the beginning, perhaps nothing."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.choice([0, rng.randrange(len(data)), len(data) - 1])])


def other_values(path: Path, candidates: list[Path], rng: random.Random) -> None:
    """Change a value of a JSON file, or of a line of one; else bytes."""
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text().splitlines(keepends=True)
            at = rng.randrange(len(lines))
            lines[at] = _json(damaged_value(json.loads(lines[at]), rng)) + "\n"
            text = "".join(lines)
        else:
            text = _json(damaged_value(json.loads(path.read_text()), rng))
    except ValueError:
        return other_bytes(path, candidates, rng)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"1e999"', "1e999")


def other_bytes(path: Path, candidates: list[Path], rng: random.Random) -> None:
    """Damage it as any file."""
    path.write_bytes(damaged(path.read_bytes()[:100_000], [one.read_bytes() for one in candidates[:5]], rng))


def missing(path: Path, _: list[Path], rng: random.Random) -> None:
    """Remove it, or put something in its place that is no file; sometimes its folder goes with it."""
    kind = rng.choice(["missing", "folder", "pipe", "loop", "broken link", "device", "its folder"])
    if kind == "its folder" and path.parent.name != "run":
        shutil.rmtree(path.parent)
        return
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in {"loop", "broken link", "device"}:
        path.symlink_to({"loop": path.name, "broken link": "nothing", "device": "/dev/zero"}[kind])


def swapped(path: Path, candidates: list[Path], rng: random.Random) -> None:
    """Put another file's content in its place, and its content in the other's."""
    same = [one for one in candidates if one.suffix == path.suffix and one != path] or candidates
    other = rng.choice(same)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


DAMAGES: list[Damage] = [bits_flipped, cut, other_values, other_values, other_bytes, missing, swapped]
