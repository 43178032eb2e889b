"""Does the doctor name what is wrong with a run first, and say nothing of a sound one? Real trainings, planted faults.

python -m benchmarks.doctor [--work FOLDER] [--only WORD ...]

The starter encoder is trained with each of 27 faults, 12 times without any, and again as the doctor's command says for
some of them; `planted` has the cases. Sound runs are judged at every 25th step as well. An hour on one core; runs that
are in the work folder are not trained again, only judged. Needs the data of ALBERTQA_DATA.
"""

import contextlib
import dataclasses
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from albertqa import cli
from albertqa.config import Settings
from albertqa.errors import AlbertQAError
from albertqa.health.diagnosis import diagnose
from albertqa.health.record import RunRecord, load_record
from albertqa.run.callbacks import Callback
from albertqa.run.recipe import train
from benchmarks.planted import FAULTS, SETTINGS, SOUND, Case, Fault, copy_of_starter, write_data
from benchmarks.provenance import command_line, write_result

_EVERY_STEPS = 25
_REFUSED, _FOLLOWED = "refused.txt", "followed.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, judge all of it, and write the result."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/doctor"), metavar="FOLDER", help="runs (runs/doctor)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases with one of these words; writes no result")
    parser.add_argument("--no-training", action="store_true", help="judge the runs that are there; name the others")
    options = parser.parse_args(arguments)
    work, missing = options.work, []

    def wanted(name: str) -> bool:
        if options.no_training and not (folder_of(name, work) / "done").is_file():
            missing.append(name)
            return False
        return options.only is None or any(word in name for word in options.only)

    faults = {name: judge_fault(name, one, work) for name, one in FAULTS.items() if wanted(name)}
    sound = {name: judge_sound(name, one, work) for name, one in SOUND.items() if wanted(name)}
    checks = {name: check(name, FAULTS[name], work) for name in faults if FAULTS[name].case.is_data_fault}
    followed = {}
    for name in faults:
        if not FAULTS[name].is_followed:
            continue
        if options.no_training and not (folder_of(name, work) / _FOLLOWED).is_file():
            missing.append(f"{name}, followed")
        else:
            followed[name] = follow(name, work)
    first = sum(one["is_first"] for one in faults.values())
    silent = sum(not one["alarms"] for one in sound.values())
    print(f"named first: {first} of {len(faults)}; sound runs without an alarm: {silent} of {len(sound)}")
    if options.only is None:
        result = {"n": len(faults) + len(sound), "not_trained": missing, "settings": SETTINGS, "named_first": first,
                  "faults": faults, "silent": silent, "sound": sound, "check_and_doctor": checks,
                  "followed": followed}  # fmt: skip
        write_result("doctor", result, options.output)


def folder_of(name: str, work: Path) -> Path:
    """Return the folder of a case."""
    return work / "".join(letter if letter.isalnum() else "-" for letter in name)


def judge_fault(name: str, fault: Fault, work: Path) -> dict[str, Any]:
    """Train with a fault, and return what the doctor says."""
    run = trained(name, fault.case, work)
    if (run.parent / _REFUSED).is_file():
        line = (run.parent / _REFUSED).read_text(encoding="utf-8")
        found = {"findings": [], "refused": line, "is_first": fault.expected in line}
    else:
        findings = diagnose(load_record(run))
        named = [one.name for one in findings]
        found = {"findings": named, "is_first": named[:1] == [fault.expected], "f1": last_f1(run)}
    print(
        f"{'ok   ' if found['is_first'] else 'WRONG'} {name}: {found.get('refused') or found['findings']}", flush=True
    )
    return {"expected": fault.expected, **describe(fault.case), **found}


def judge_sound(name: str, case: Case, work: Path) -> dict[str, Any]:
    """Train with nothing wrong, and return what the doctor says on the way and at the end."""
    run = trained(name, case, work)
    record = load_record(run)
    alarms = {
        str(one.step): named
        for one in on_the_way(record)
        if (named := [finding.name for finding in diagnose(one) if finding.severity != "note"])
    }
    print(f"{'WRONG' if alarms else 'ok   '} {name}: {alarms or 'silent'}, f1 {last_f1(run):.1f}", flush=True)
    return {**describe(case), "alarms": alarms, "f1": last_f1(run)}


def describe(case: Case) -> dict[str, Any]:
    """Return what distinguishes a case from others."""
    return {"data": case.data, "questions": list(case.questions), "seed": case.seed, "settings": case.settings}


def on_the_way(record: RunRecord) -> Iterator[RunRecord]:
    """Yield a run as its directory had it at every 25th step and at its evaluations, and as it is at its end."""
    running = dataclasses.replace(
        record.run, facts=msgspec.structs.replace(record.run.facts, status="running"), scores={}
    )
    evaluated = {row.step for row in record.evaluations}
    for step in sorted({*range(0, record.step + 1, _EVERY_STEPS), *evaluated}):
        rows = [row for row in (*record.steps, *record.evaluations) if row.step <= step]
        yield RunRecord(running, rows)
    yield record


def trained(name: str, case: Case, work: Path) -> Path:
    """Return a case's run directory, trained if it is not there yet."""
    folder = folder_of(name, work)
    run, done = folder / "run", folder / "done"
    if done.is_file():
        return run
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.perf_counter()
    train_file, validation_file = write_data(case, folder)
    settings: dict[str, Any] = {**SETTINGS, "seed": case.seed, **case.settings}
    if case.model is not None:
        model = copy_of_starter(folder / "model")
        case.model(model, validation_file)
        settings["model"] = str(model)
    said = _Said()
    run_settings = Settings(
        **settings, train_file=(str(train_file),), validation_file=(str(validation_file),), output_dir=run
    )
    try:
        if train(run_settings, callbacks=[said]).status == "interrupted":
            raise SystemExit(f"{name}: interrupted")
    except AlbertQAError as error:
        (folder / _REFUSED).write_text(str(error), encoding="utf-8")
    (folder / "said.txt").write_text("".join(f"{line}\n" for line in said.lines), encoding="utf-8")
    shutil.rmtree(folder / "before", ignore_errors=True)
    done.touch()
    print(f"trained {name} in {time.perf_counter() - begun:.0f} s", flush=True)
    return run


class _Said(Callback):
    """What a run told its user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, text: str) -> None:
        """Take a line."""
        self.lines.append(text)


def last_f1(run: Path) -> float:
    """Return the f1 of a run's last evaluation."""
    return round(load_record(run).evaluations[-1].f1, 2)


def check(name: str, fault: Fault, work: Path) -> dict[str, Any]:
    """Return what `albertqa check` says of a case's files, and what the doctor says of its run's data."""
    run = trained(name, fault.case, work)
    suffix = "csv" if fault.case.table else "json"
    files = [str(run.parent / f"{part}.{suffix}") for part in ("train", "validation")]
    settings = {**SETTINGS, **fault.case.settings}
    lengths = ["--max-seq-length", str(settings["max_seq_length"]), "--doc-stride", str(settings["doc_stride"])]
    code, report = called(["check", *files, "--tokenizer", "starter", *lengths, "--json"])
    content = json.loads(report)
    errors = [one["kind"] for one in content["problems"] if one["severity"] == "error"]
    said = [one["name"] for one in content["findings"]]
    if (run.parent / _REFUSED).is_file():
        line = (run.parent / _REFUSED).read_text(encoding="utf-8")
        found = {"doctor": [line], "agree": bool(errors)}
    else:
        doctor = [one.name for one in diagnose(load_record(run)) if one.step == 0]
        found = {"doctor": doctor, "agree": set(doctor) == set(said)}
    print(f"{'ok   ' if found['agree'] else 'WRONG'} check and doctor, {name}: {errors + said}", flush=True)
    return {"check": errors + said, "exit_code": code, **found}


def follow(name: str, work: Path) -> dict[str, Any]:
    """Do what the doctor's first finding says, train, and return f1 before and after.

    Its commands run in a shell. Where the last one shows rows, the rows that it writes are left out.
    """
    run = trained(name, FAULTS[name].case, work)
    record = run.parent / _FOLLOWED
    if not record.is_file():
        finding = diagnose(load_record(run))[0]
        commands = [finding.remedy]
        if "--show-rows" in finding.remedy:
            rows, kept = run.parent / "rows.jsonl", run.parent / "train-kept.json"
            in_shell(f"{finding.remedy} --write-rows {shlex.quote(str(rows))}")
            leave_out(run.parent / "train.json", rows, kept)
            shutil.rmtree(f"{run}-followed", ignore_errors=True)
            words = ["albertqa", "train", "--config", str(run / "config.toml"), "--train-file", str(kept)]
            commands = [finding.remedy, shlex.join([*words, "--output-dir", f"{run}-followed"])]
        in_shell(commands[-1])
        record.write_text(json.dumps({"finding": finding.name, "commands": commands}), encoding="utf-8")
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    after = Path(shlex.split(found["commands"][-1])[-1])
    left = [one.name for one in diagnose(load_record(after))]
    print(f"{name}: {found['finding']}, f1 {last_f1(run)} -> {last_f1(after)}, then {left}", flush=True)
    return {
        "finding": found["finding"],
        "commands": found["commands"],
        "f1_before": last_f1(run),
        "f1_after": last_f1(after),
        "findings_after": left,
    }


def in_shell(commands: str) -> None:
    """Run commands as a user does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(commands, shell=True, check=True, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL)


def leave_out(data: Path, rows: Path, kept: Path) -> None:
    """Write training data without the questions of a file of rows."""
    wrong = {json.loads(line)["id"] for line in rows.read_text(encoding="utf-8").splitlines()}
    content = json.loads(data.read_text(encoding="utf-8"))
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [one for one in paragraph["qas"] if one["id"] not in wrong]
        article["paragraphs"] = [one for one in article["paragraphs"] if one["qas"]]
    kept.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def called(arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command of albertqa; return its exit code and what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(list(arguments))
    return code, out.getvalue()


if __name__ == "__main__":
    main()
