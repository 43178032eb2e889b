"""Real runs of a tiny ALBERT, sound and with faults planted, each trained once a session."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from albertqa.data.reading import load_examples
from albertqa.errors import AlbertQAError
from albertqa.health.record import RunRecord, load_record
from albertqa.run.recipe import train
from model.cases import save_albert

from .cases import Task, numbers_task, write_rows
from .faults import FAULTS, Fault


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Compute on one thread: small matrices are slower on more, and sums then have one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_weights_for_remedies(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A tiny ALBERT with weights, in the place of one from the Hub."""
    return save_albert(tiny_folder, tmp_path_factory.mktemp("from-the-hub"))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Callable[[str], RunRecord]:
    """Train the run with a fault, by the fault's name, the first time it is asked for."""
    runs: dict[str, RunRecord] = {}

    def give(name: str) -> RunRecord:
        if name not in runs:
            runs[name] = _train(FAULTS[name], tmp_path_factory.mktemp("planted"), tiny_folder, tmp_path_factory)
        return runs[name]

    return give


def _train(fault: Fault, folder: Path, tiny_folder: Path, factory: pytest.TempPathFactory) -> RunRecord:
    model = folder / "model"
    shutil.copytree(tiny_folder, model)
    if fault.model is not None:
        fault.model(model)
    if fault.on == "numbers":
        training, validation = numbers_task("train", 240), numbers_task("validation", 120)
    else:
        training, validation = load_examples("starter:train", limit=200), load_examples("starter:validation", limit=60)
    if fault.leak is not None:
        training += fault.leak([dataclasses.replace(one, id=f"leaked-{one.id}") for one in validation])
    if fault.train is not None:
        training = fault.train(training)
    if fault.validation is not None:
        validation = fault.validation(validation)
    task = Task(
        write_rows(folder / "train.jsonl", training), write_rows(folder / "validation.jsonl", validation), model
    )
    lengths = {} if fault.on == "numbers" else {"max_seq_length": 384, "doc_stride": 128, "max_answer_length": 30}
    run = folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERTQA_CACHE", str(factory.getbasetemp() / "cache"))
        if fault.code is not None:
            fault.code(patch)
        try:
            train(task.settings(run, **{**lengths, **fault.settings}))
        except AlbertQAError:
            assert (run / "health.json").is_file()  # a run that fails is judged, too
    return load_record(run)
