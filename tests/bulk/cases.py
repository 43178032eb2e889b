"""Bulk jobs on questions of the starter set, with a tiny model."""

import json
import os
from dataclasses import replace
from pathlib import Path

from albertqa.bulk.job import BulkJob, PlainEngine, reader_settings
from albertqa.data.reading import load_examples

OPTIONS = {"device": "cpu", "mixed_precision": "no", "num_threads": 1, "max_seq_length": 128, "doc_stride": 32}
READER = {"max_seq_length": 128, "doc_stride": 32}


def write_questions(path: Path, count: int, first: int = 0) -> Path:
    """Write questions as JSON lines; every tenth without an id."""
    examples = load_examples("starter:train")[first : first + count]
    with path.open("w") as file:
        for number, one in enumerate(examples):
            row = {"id": one.id, "question": one.question, "context": one.context}
            file.write(json.dumps({name: row[name] for name in row if name != "id" or number % 10}) + "\n")
    return path


def job_of(inputs: tuple[Path, ...], output: Path, model: Path, **changes: object) -> BulkJob:
    names = tuple(map(str, inputs))
    job = BulkJob(names, output, str(model), reader_settings(str(model), **READER), part_questions=3)
    return replace(job, **changes)


def finish(job: BulkJob) -> None:
    """Do a job in this process."""
    job.run(PlainEngine(job.model, OPTIONS, n_best=job.n_best, batch_size=8))


def finish_alone(job: BulkJob) -> None:
    """Do a job as a process's only work."""
    import torch

    os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(1)
    finish(job)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all that a job left behind."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".lock")}
