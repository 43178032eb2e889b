"""The average is its closed form over the weights of every step; it is evaluated and kept, the weights are trained."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from albertqa import rundir
from albertqa.config import Settings
from albertqa.errors import RunError
from albertqa.evaluation import evaluate
from albertqa.model.load import SpanModel
from albertqa.recipe import RunResult, train
from albertqa.training.average import WeightAverage, judged_weights
from albertqa.training.checkpoint import OPTIMIZER, WEIGHTS, TrainState, load_checkpoint, save_checkpoint
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import TIMED, Listener, go_on, open_model, small_run
from .reference import Course

COURSE = Course(total_steps=12)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def assert_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Compare to the bit."""
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert torch.equal(one, expected[name]), name


def closed_form(weights: Sequence[torch.Tensor], decay: float) -> torch.Tensor:
    """Sum the weights of all steps (the first are those of the beginning), each times its share, in float64."""
    decays = [min(decay, (1 + step) / (10 + step)) for step in range(1, len(weights))]
    shares = [1.0, *(1 - one for one in decays)]
    total = torch.zeros_like(weights[0], dtype=torch.float64)
    for step, (share, one) in enumerate(zip(shares, weights, strict=True)):
        total += share * torch.tensor(decays[step:], dtype=torch.float64).prod() * one.double()
    return total


def random_weights(model: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(torch.randn(one.shape, generator=generator))


class Notebook(Listener):
    """Writes down the weights after every step, and those that an evaluation sees."""

    def __init__(self, model: SpanModel, **changes: Any) -> None:
        super().__init__(**changes)
        self.model = model.model
        self.trained = [weights_of(self.model)]
        self.judged: dict[int, dict[str, torch.Tensor]] = {}

    def stepped(self, row: dict[str, Any]) -> None:
        super().stepped(row)
        self.trained.append(weights_of(self.model))

    def evaluate(self, state: TrainState) -> TrainState:
        self.judged[state.step] = weights_of(self.model)
        return super().evaluate(state)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.9999), st.integers(1, 60), st.integers(0, 100))
def test_the_average_is_the_sum_of_all_weights_times_their_shares(decay: float, num_steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    random_weights(model, generator)
    average, seen = WeightAverage(model, decay), [weights_of(model)]
    for step in range(1, num_steps + 1):
        random_weights(model, generator)
        seen.append(weights_of(model))
        average.update(step, torch.tensor(True))
    for name, found in average.tensors().items():
        expected = closed_form([one[name] for one in seen], decay)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_below_the_warm_up_it_is_pytorchs_own_average() -> None:
    decay = 0.15  # below 2/11, where the warm-up begins
    generator = torch.Generator().manual_seed(3)
    model = torch.nn.Linear(4, 4)
    ours = WeightAverage(model, decay)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    theirs.update_parameters(model)  # its first update takes the weights as they are
    for step in range(1, 20):
        random_weights(model, generator)
        ours.update(step, torch.tensor(True))
        theirs.update_parameters(model)
    assert_equal(ours.tensors(), weights_of(theirs.module))


def test_a_high_decay_forgets_the_beginning_of_a_short_run() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    average = WeightAverage(model, 0.9999)
    torch.nn.init.zeros_(model.weight)
    for step in range(1, 31):
        average.update(step, torch.tensor(True))
    assert 0 < average.tensors()["weight"].item() < 1e-6


def test_the_model_has_the_average_inside_and_its_own_weights_to_the_bit_outside() -> None:
    generator = torch.Generator().manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[0].bias.requires_grad_(False)
    average = WeightAverage(model, 0.5)
    random_weights(model, generator)
    average.update(1, torch.tensor(True))
    places = [one.data_ptr() for one in model.parameters()]
    before, averaged = weights_of(model), {name: one.clone() for name, one in average.tensors().items()}
    assert "0.bias" not in averaged
    with average.applied():
        assert_equal(weights_of(model), {**before, **averaged})
        # A compiled or captured forward finds the weights where it knows them.
        assert [one.data_ptr() for one in model.parameters()] == places
    assert_equal(weights_of(model), before)
    assert_equal(average.tensors(), averaged)
    with pytest.raises(ZeroDivisionError), judged_weights(average):
        1 / 0  # noqa: B018
    assert_equal(weights_of(model), before)


def test_without_an_average_the_weights_themselves_are_judged() -> None:
    with judged_weights(None):
        pass


def test_a_course_averages_the_weights_of_every_step_and_evaluates_the_average(
    tiny_weights: Path, store: WindowStore
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    average, notes = WeightAverage(model.model, 0.6), Notebook(model)
    go_on(model, optimizer, store, COURSE, notes, average=average, eval_steps=5)
    assert sorted(notes.judged) == [5, 10, 12]
    for step, judged in notes.judged.items():
        for name, found in judged.items():
            expected = closed_form([one[name] for one in notes.trained[: step + 1]], 0.6)
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert_equal(weights_of(model.model), notes.trained[-1])
    assert_equal(average.tensors(), notes.judged[12])


def test_averaging_changes_no_step(tiny_weights: Path, store: WindowStore) -> None:
    courses = []
    for decay in (None, 0.9):
        model, optimizer = open_model(tiny_weights, COURSE)
        notes = Notebook(model)
        average = None if decay is None else WeightAverage(model.model, decay)
        go_on(model, optimizer, store, COURSE, notes, average=average, eval_steps=3)
        courses.append(notes)
    plain, averaged = courses
    assert [row["train_loss"] for row in plain.rows] == [row["train_loss"] for row in averaged.rows]
    for one, other in zip(plain.trained, averaged.trained, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("precision", [None, torch.float16], ids=["fp32", "fp16"])
def test_a_step_that_is_left_out_does_not_move_the_average(
    precision: torch.dtype | None, tiny_weights: Path, store: WindowStore
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE, precision=precision)
    broken = {3, 7}
    steps = iter(range(1, COURSE.total_steps + 1))

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.inf if next(steps) in broken else gradient

    model.model.get_submodule("qa_outputs").weight.register_hook(overflow)
    average, notes = WeightAverage(model.model, 0.5), Notebook(model)
    go_on(model, optimizer, store, COURSE, notes, average=average, eval_steps=1)
    assert {row["step"] for row in notes.rows if row["grad_norm"] is None} == broken
    for step in range(2, COURSE.total_steps + 1):
        stays = step in broken
        for weights in (notes.trained, notes.judged):
            before, after = (weights[one]["qa_outputs.bias"] for one in (step - 1, step))
            assert torch.equal(before, after) == stays


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> tuple[Settings, RunResult]:
    """A run with average, R-Drop and label smoothing; a checkpoint every step, an evaluation every second one."""
    settings = small_run(
        tiny_weights,
        tmp_path_factory.mktemp("runs") / "whole",
        ema_decay=0.7,
        hidden_dropout=0.1,
        r_drop_alpha=1.0,
        label_smoothing_factor=0.1,
        learning_rate=1e-2,
        max_steps=8,
        eval_steps=2.0,
        save_steps=1.0,
        save_total_limit=8,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return settings, train(settings)


def checkpoint_of(run: Path, step: int) -> Path:
    return run / rundir.CHECKPOINTS / f"step-{step:08d}"


def average_in(checkpoint: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(checkpoint / OPTIMIZER)
    return {name.removeprefix("average/"): one for name, one in tensors.items() if name.startswith("average/")}


def test_best_and_final_are_the_average_and_checkpoints_the_weights(whole: tuple[Settings, RunResult]) -> None:
    result = whole[1]
    weights = [load_file(checkpoint_of(result.run, step) / WEIGHTS) for step in range(1, 9)]
    averages = [average_in(checkpoint_of(result.run, step)) for step in range(1, 9)]
    assert_equal(load_file(result.run / rundir.BEST / WEIGHTS), averages[result.best_step - 1])
    assert_equal(load_file(result.run / rundir.FINAL / WEIGHTS), averages[-1])
    # From one checkpoint to the next, the average moves by its own rule towards the checkpoint's weights.
    for step in range(2, 9):
        decay = min(0.7, (1 + step) / (10 + step))
        for name, found in averages[step - 1].items():
            expected = decay * averages[step - 2][name] + (1 - decay) * weights[step - 1][name]
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            assert not torch.equal(found, weights[step - 1][name])


def test_scores_and_predictions_are_the_averages(whole: tuple[Settings, RunResult]) -> None:
    settings, result = whole
    again = evaluate(
        result.run / rundir.BEST,
        "starter:validation",
        limit=settings.max_eval_examples,
        max_seq_length=settings.max_seq_length,
        doc_stride=settings.doc_stride,
        device="cpu",
        mixed_precision="no",
    )
    written = json.loads((result.run / rundir.PREDICTIONS_JSON).read_text())
    assert written == {one.id: one.text for one in again.predictions}
    assert result.scores["loss"] == again.loss
    raw = evaluate(
        checkpoint_of(result.run, result.best_step),
        "starter:validation",
        limit=settings.max_eval_examples,
        max_seq_length=settings.max_seq_length,
        doc_stride=settings.doc_stride,
        device="cpu",
        mixed_precision="no",
    )
    assert raw.loss != again.loss


@pytest.mark.parametrize("step", [1, 5])
def test_a_run_resumed_with_all_regularizers_ends_as_the_whole_one(
    step: int, whole: tuple[Settings, RunResult], tmp_path: Path
) -> None:
    settings, result = whole
    run = Path(shutil.copytree(result.run, tmp_path / "run"))
    shutil.rmtree(run / rundir.FINAL)
    for later in range(step + 1, 9):
        shutil.rmtree(checkpoint_of(run, later))
    if step == 1:  # before the first evaluation
        shutil.rmtree(run / rundir.BEST)
    torch.manual_seed(99)
    train(replace(settings, output_dir=run), resume=True)
    rows, expected_rows = (
        [{key: one for key, one in row.items() if key not in TIMED} for row in rundir.read_metrics(folder)]
        for folder in (run, result.run)
    )
    assert rows == expected_rows
    for folder in (rundir.BEST, rundir.FINAL, "checkpoints/step-00000008"):
        names = {WEIGHTS, OPTIMIZER} & {path.name for path in (result.run / folder).iterdir()}
        assert WEIGHTS in names
        for name in names:
            found, expected = (
                hashlib.sha256((one / folder / name).read_bytes()).hexdigest() for one in (run, result.run)
            )
            assert found == expected, f"{folder}/{name}"


def test_a_loaded_average_is_bit_equal_to_the_saved_one(
    tiny_weights: Path, store: WindowStore, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    average = WeightAverage(model.model, 0.9)
    state = go_on(model, optimizer, store, COURSE, Listener(stop_after=3), average=average)
    folder = save_checkpoint(tmp_path, state, model, tokenizer, optimizer, keep=1, average=average)
    other, other_optimizer = open_model(tiny_weights, COURSE)
    other_average = WeightAverage(other.model, 0.9)
    load_checkpoint(folder, other, other_optimizer, other_average)
    assert_equal(other_average.tensors(), average.tensors())
    assert_equal(weights_of(other.model), weights_of(model.model))


def test_a_checkpoint_without_the_average_is_refused(
    tiny_weights: Path, store: WindowStore, tokenizer: QATokenizer, tmp_path: Path
) -> None:
    model, optimizer = open_model(tiny_weights, COURSE)
    state = go_on(model, optimizer, store, COURSE, Listener(stop_after=1))
    folder = save_checkpoint(tmp_path, state, model, tokenizer, optimizer, keep=1)
    tensors = load_file(folder / OPTIMIZER)
    assert not any(name.startswith("average/") for name in tensors)
    save_file(tensors, folder / OPTIMIZER)
    with pytest.raises(RunError, match=r"does not fit this model \('average/albert\..*Start anew"):
        load_checkpoint(folder, model, optimizer, WeightAverage(model.model, 0.9))
